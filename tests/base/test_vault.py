from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import SettingError
from base.sealing import Unsealable, new_key
from base.settings import Settings
from base.vault import CLOSED, Vault

OLD, NEW = new_key(), new_key()
VAULT = Vault({1: OLD})


@given(st.binary(max_size=2000))
def test_it_opens_what_it_sealed_for_a_place(content: bytes) -> None:
    assert VAULT.open(VAULT.seal(content, "event.body"), "event.body") == content


@given(st.binary(max_size=200), st.data())
def test_it_refuses_bytes_that_were_touched(content: bytes, data: st.DataObject) -> None:
    sealed = bytearray(VAULT.seal(content, "event.body"))
    sealed[data.draw(st.integers(1, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Unsealable):
        VAULT.open(bytes(sealed), "event.body")


def test_it_refuses_what_was_sealed_for_another_place_or_never() -> None:
    for sealed in (VAULT.seal(b"x", "event.body"), b"", b"\x01" * 28, b'{"type":"track"}'):
        with pytest.raises((Unsealable, SettingError)):
            VAULT.open(sealed, "identifier.value")


def test_it_seals_differently_each_time() -> None:
    assert len({VAULT.seal(b"same", "identifier.value") for _ in range(1000)}) == 1000


def test_it_seals_with_the_last_key_and_opens_with_all() -> None:
    both = Vault({1: OLD, 2: NEW})
    before = VAULT.seal(b"x", "event.body")
    after = both.resealed(before, "event.body")
    assert (before[0], after[0], both.newest, both.numbers) == (1, 2, 2, (1, 2))
    assert both.open(before, "event.body") == both.open(after, "event.body") == b"x"
    with pytest.raises(SettingError, match="LATEBIND_PII_KEYS: must hold key 2"):
        VAULT.open(after, "event.body")


def test_it_says_which_setting_is_missing() -> None:
    for use in (lambda: CLOSED.seal(b"x", "event.body"), lambda: CLOSED.newest):
        with pytest.raises(SettingError, match="LATEBIND_PII_KEYS: must be set"):
            use()


@pytest.mark.parametrize(
    "value", ["1:00", "x:" + "00" * 32, "256:" + "00" * 32, ",", "1:" + "00" * 32 + ",1:" + "11" * 32]
)
def test_it_refuses_malformed_keys_by_the_name_of_the_setting(value: str) -> None:
    with pytest.raises(SettingError, match="LATEBIND_PII_KEYS"):
        Settings.from_environment({"LATEBIND_PII_KEYS": value})


def test_it_reads_keys_by_number_and_shows_none_of_them() -> None:
    settings = Settings.from_environment({"LATEBIND_PII_KEYS": f"1:{OLD.hex()},7:{NEW.hex()}"})
    assert Vault.of(settings).newest == 7
    assert OLD.hex() not in repr(settings)
    assert str(settings.pii_keys) not in repr(settings)
