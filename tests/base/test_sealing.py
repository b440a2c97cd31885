from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.sealing import Sealer, Unsealable, new_key, seal, unseal, unwrap_key, wrap_key

KEY, OTHER = new_key(), new_key()


@given(st.binary(max_size=2000), st.binary(max_size=50))
def test_it_opens_what_it_sealed(content: bytes, purpose: bytes) -> None:
    assert unseal(seal(content, KEY, purpose), KEY, purpose) == content


@given(st.binary(max_size=200), st.data())
def test_it_refuses_bytes_that_were_touched(content: bytes, data: st.DataObject) -> None:
    sealed = bytearray(seal(content, KEY, b"p"))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Unsealable):
        unseal(bytes(sealed), KEY, b"p")


def test_it_refuses_another_key_or_purpose() -> None:
    sealed = seal(b"secret", KEY, b"record")
    for key, purpose in ((OTHER, b"record"), (KEY, b"spool")):
        with pytest.raises(Unsealable):
            unseal(sealed, key, purpose)


@pytest.mark.parametrize("sealed", [b"", b"\x01", b"\x02" * 60, b"\x01" * 28])
def test_it_refuses_what_was_never_sealed(sealed: bytes) -> None:
    with pytest.raises(Unsealable):
        unseal(sealed, KEY, b"p")


def test_it_seals_differently_each_time() -> None:
    sealer = Sealer(KEY)
    assert len({sealer.seal(b"same", b"p") for _ in range(1000)}) == 1000


def test_it_binds_a_wrapped_key_to_its_owner() -> None:
    key = new_key()
    wrapped = wrap_key(key, KEY, "subject 1")
    assert key not in wrapped
    assert unwrap_key(wrapped, KEY, "subject 1") == key
    with pytest.raises(Unsealable):
        unwrap_key(wrapped, KEY, "subject 2")


def test_it_refuses_a_short_key() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Sealer(b"short")
