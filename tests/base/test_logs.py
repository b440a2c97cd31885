from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from base.logs import MASK, logger, masked, set_up
from base.settings import Settings


@pytest.fixture
def lines() -> Iterator[Any]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    set_up(Settings(), "test")
    written = io.StringIO()
    handler = root.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(written)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


def test_it_writes_one_json_object_a_line_and_names_the_process(lines: Any) -> None:
    logger("ours").info("mail sent", campaign=3)
    logging.getLogger("theirs").warning("slow %s", "query")
    ours, theirs = lines()
    assert ours["event"] == "mail sent"
    assert ours["campaign"] == 3
    assert theirs["event"] == "slow query"
    assert {ours["process"], theirs["process"]} == {"test"}
    assert ours["timestamp"].endswith("Z")


def test_it_masks_addresses_wherever_they_hide(lines: Any) -> None:
    logger("x").info(
        "to ada.l+x@example.com",
        to="Ada <ada.l+x@example.com>",
        nested={"ada.l+x@example.com": ["ada.l%2Bx%40example.com", ("ada.l+x@example.com",)]},
        raw=b"ada.l+x@example.com",
        error=ValueError("no such box: ada.l+x@example.com"),
    )
    try:
        raise KeyError("ada.l+x@example.com")
    except KeyError:
        logger("x").exception("failed")
    logging.getLogger("smtp").error("refused <%s>", "ada.l+x@example.com")
    written = json.dumps(lines())
    assert "ada.l" not in written
    assert "example.com" not in written
    assert written.count(MASK) >= 8


@given(st.emails(), st.sampled_from(["{}", "<{}>", "to={}", "a {} b", "('{}',)", "x:{},y"]))
def test_it_masks_any_address(address: str, form: str) -> None:
    text = masked(None, "info", {"event": form.format(address)})["event"]
    assert "@" not in text
    assert address.rsplit("@", 1)[1] not in text.split()


def test_it_leaves_numbers_and_other_words_alone() -> None:
    event = {"event": "sent", "count": 3, "ratio": 0.5, "ok": True, "nothing": None, "host": "relay.example.com"}
    assert masked(None, "info", dict(event)) == event


def test_it_keeps_quiet_below_its_level(lines: Any) -> None:
    logger("x").debug("detail")
    logging.getLogger("y").debug("detail")
    assert lines() == []
