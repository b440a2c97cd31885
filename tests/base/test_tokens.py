from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import BadToken
from base.tokens import FORMATS, TOKEN_LENGTH, Purpose, Token, TokenKeys, day_of, pack_size, second_number, unpack_size

OLD, NEW = secrets.token_bytes(64), secrets.token_bytes(64)
KEYS = TokenKeys({1: OLD, 2: NEW}, current=2)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

tokens = st.builds(
    Token,
    purpose=st.sampled_from(Purpose),
    profile=st.integers(0, 2**63 - 1),
    campaign=st.integers(0, 2**31 - 1),
    occurrence=st.integers(0, 2**32 - 1),
    slot=st.integers(0, 255),
    width=st.integers(0, 63).map(lambda n: n * 20),
    height=st.integers(0, 255).map(lambda n: n * 10),
    fmt=st.sampled_from(FORMATS),
    sent_s=st.integers(0, 2**31 - 1),
    neutral=st.booleans(),
)
GOLDEN_NOW = "CSS40duVGXEJS2IeiBhzrsHXOlLbCtKQHM6ibnQwDzISq_CxTMkUmA"
GOLDEN = "CTyRra5_KZiBxyEIF8qI6ZKWpulKXN66NR1dD2TJGi3T215G92s"
SENT_S = 2252 * 86_400 + 43_201
"""Noon of 2 March 2026 and a second."""
ONE = Token(Purpose.PICTURE, 7, 3, 1, 0, 600, 300, "jpg", SENT_S)


@given(tokens)
def test_it_reads_what_it_minted(token: Token) -> None:
    text = KEYS.mint(token)
    assert len(text) == TOKEN_LENGTH
    assert set(text) <= set(ALPHABET)
    assert KEYS.read(text, token.purpose) == token


@given(tokens, st.sampled_from(Purpose))
def test_it_reads_for_no_other_purpose(token: Token, purpose: Purpose) -> None:
    if purpose is not token.purpose:
        with pytest.raises(BadToken):
            KEYS.read(KEYS.mint(token), purpose)


@given(st.integers(0, TOKEN_LENGTH - 1), st.sampled_from(ALPHABET))
def test_it_rejects_a_token_with_one_character_changed(place: int, character: str) -> None:
    text = KEYS.mint(ONE)
    changed = text[:place] + character + text[place + 1 :]
    if changed != text:
        with pytest.raises(BadToken):
            KEYS.read(changed, Purpose.PICTURE)


@given(st.text(max_size=80))
def test_it_rejects_any_other_text(text: str) -> None:
    with pytest.raises(BadToken):
        KEYS.read(text, Purpose.PICTURE)


def test_it_rejects_ten_thousand_random_tokens() -> None:
    for _ in range(10_000):
        with pytest.raises(BadToken):
            KEYS.read("".join(secrets.choice(ALPHABET) for _ in range(TOKEN_LENGTH)), Purpose.PICTURE)


@pytest.mark.parametrize("cut", [0, 1, 20, 50])
def test_it_rejects_a_truncated_token(cut: int) -> None:
    with pytest.raises(BadToken):
        KEYS.read(KEYS.mint(ONE)[:cut], Purpose.PICTURE)


def test_it_rejects_a_mixture_of_two_tokens() -> None:
    one, other = KEYS.mint(ONE), KEYS.mint(Token(Purpose.PICTURE, 8, 3, 1, 0, 600, 300, "jpg", SENT_S))
    with pytest.raises(BadToken):
        KEYS.read(one[:25] + other[25:], Purpose.PICTURE)


def test_it_honours_old_keys_and_mints_with_the_newest() -> None:
    before = TokenKeys({1: OLD}, current=1).mint(ONE)
    assert KEYS.read(before, Purpose.PICTURE) == ONE
    assert KEYS.mint(ONE) != before
    with pytest.raises(BadToken):
        TokenKeys({1: OLD}, current=1).read(KEYS.mint(ONE), Purpose.PICTURE)


def test_it_still_reads_a_token_of_the_first_release() -> None:
    # Minted once by version 0.1.0, which knew the day only; the bytes in people's mailboxes never change.
    first = TokenKeys({9: b"\x11" * 32 + b"\x22" * 32}, current=9)
    read = first.read(GOLDEN, Purpose.CLICK)
    assert read == Token(Purpose.CLICK, 123456789, 42, 1, 3, 600, 300, "png", 2252 * 86_400)
    assert not read.knows_second
    with pytest.raises(BadToken):
        first.read(GOLDEN, Purpose.PICTURE)
    for place in range(len(GOLDEN)):
        with pytest.raises(BadToken):
            first.read(GOLDEN[:place] + ("A" if GOLDEN[place] != "A" else "B") + GOLDEN[place + 1 :], Purpose.CLICK)


def test_it_goes_on_minting_what_this_release_mints() -> None:
    keys = TokenKeys({9: b"\x11" * 32 + b"\x22" * 32}, current=9)
    assert keys.mint(Token(Purpose.CLICK, 123456789, 42, 1, 3, 600, 300, "png", SENT_S, neutral=True)) == GOLDEN_NOW


def test_it_gives_the_same_url_for_the_same_thing() -> None:
    assert KEYS.mint(ONE) == KEYS.mint(ONE)


@pytest.mark.parametrize("size", [(610, 300), (600, 305), (1280, 300), (600, 2560), (-20, 10)])
def test_it_refuses_a_size_that_does_not_fit(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError):
        pack_size(*size, "jpg")


@given(st.integers(0, 65535))
def test_it_packs_every_size_one_way(packed: int) -> None:
    assert pack_size(*unpack_size(packed)) == packed


def test_it_refuses_to_mint_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="profile"):
        KEYS.mint(Token(Purpose.VIEW, -1, 1, 1))
    with pytest.raises(ValueError, match="slot"):
        KEYS.mint(Token(Purpose.VIEW, 1, 1, 1, slot=256))


def test_it_counts_seconds_from_the_first_of_2020() -> None:
    assert second_number(datetime(2020, 1, 1, tzinfo=UTC)) == 0
    moment = datetime(2026, 3, 2, 12, 0, 1, 999_999, tzinfo=UTC)
    assert second_number(moment) == SENT_S
    assert day_of(SENT_S) == 2252 * 86_400
    assert ONE.knows_second
    assert datetime.fromtimestamp(ONE.sent_ms / 1000, UTC) == moment.replace(microsecond=0)


def test_it_reads_in_many_threads_at_once() -> None:
    minted = [(token, KEYS.mint(token)) for token in (Token(Purpose.VIEW, n, 1, 1) for n in range(1, 200))]
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda pair: KEYS.read(pair[1], Purpose.VIEW) == pair[0], minted * 20))
    assert all(read)
