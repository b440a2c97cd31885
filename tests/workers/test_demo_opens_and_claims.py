"""The story's claims."""

from __future__ import annotations

import pytest

from workers.demo.claims import ClaimFailed, Claims


def test_it_names_every_claim_that_failed_and_goes_on_checking() -> None:
    told: list[str] = []
    claims = Claims(told.append)
    assert claims.check("one holds", True, "1 of 1")
    assert not claims.check("two fails", False)
    assert not claims.check("three fails", False)
    with pytest.raises(ClaimFailed, match="two fails; three fails") as caught:
        claims.settle()
    assert caught.value.names == ["two fails", "three fails"]
    assert told[0] == "  ✓ one holds — 1 of 1"
    assert "NOT SO" in told[1]


def test_it_is_content_when_all_hold() -> None:
    claims = Claims(lambda line: None)
    claims.check("one holds", True)
    claims.settle()


def test_it_does_not_take_silence_for_success() -> None:
    with pytest.raises(ClaimFailed):
        Claims(lambda line: None).settle()


def test_it_refuses_to_make_a_claim_twice() -> None:
    claims = Claims(lambda line: None)
    claims.check("one", True)
    with pytest.raises(ValueError, match="before"):
        claims.check("one", False)
