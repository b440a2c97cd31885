"""A store that fails right after a commit: nobody is left with a state of before, whoever asks again or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from base.errors import Unavailable
from signals import joining, membership, outbox
from signals.consent import set_consent
from signals.due import publish_due
from signals.intake import take_apart
from signals.publishing import HOT_STORE
from signals.state import decode
from tests.signals.sending import NOW, Desk, call, identified, viewed

PHONE = "+491511234567"


@contextmanager
def failing_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The next states are committed and not published."""
    write = desk.intake.publisher.write_states
    left = [True]

    def fail(*given: Any) -> int:
        if left.pop() if left else False:
            raise Unavailable(HOT_STORE)
        return write(*given)

    with monkeypatch.context() as broken:
        broken.setattr(desk.intake.publisher, "write_states", fail)
        yield
    assert not left, "nothing was written"


def differing(desk: Desk) -> list[int]:
    """The profiles of whom render is told something else than what is stored."""
    rows = desk.rows("SELECT p.id, s.encoded FROM profile p JOIN profile_state s ON s.profile_id = p.root_id")
    return [row.id for row in rows if desk.read(row.id) != decode(row.encoded)]


def nobody(profile: int) -> None:
    """Whom something was shown, so that their state is brought back with it."""
    pytest.fail(f"profile {profile} was shown something")


def check_mended(desk: Desk) -> None:
    assert differing(desk), "else this shows nothing"
    assert publish_due(desk.intake, nobody)
    assert differing(desk) == []
    assert publish_due(desk.intake, nobody) == 0


def two(desk: Desk) -> tuple[int, int]:
    """Two people who are not one."""
    desk.send(identified("u1", hobby="chess"), call("identify", userId="u2", traits={"city": "Bonn"}))
    return desk.root("user_id", "u1"), desk.root("user_id", "u2")


def test_a_merge_and_its_undoing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = two(desk)
    with failing_once(desk, monkeypatch), pytest.raises(Unavailable):
        joining.join(desk.intake, one, other, NOW, by="x")
    check_mended(desk)
    (link,) = desk.rows("SELECT id FROM profile_link")
    with failing_once(desk, monkeypatch), pytest.raises(Unavailable):
        take_apart(desk.intake, link.id, NOW, apart=True, by="x")
    assert take_apart(desk.intake, link.id, NOW, apart=True, by="x") is None, "it is undone already"
    check_mended(desk)


def test_who_is_in_a_segment(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = two(desk)
    with failing_once(desk, monkeypatch), pytest.raises(Unavailable):
        membership.assign(desk.intake, 7, [one], NOW)
    assert membership.assign(desk.intake, 7, [one], NOW) == 0
    check_mended(desk)


def test_those_whom_a_value_of_many_had_tied(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    people = range(7)
    for number in people:
        desk.send(call("identify", anonymousId=f"d{number}", traits={"loyaltyId": f"L{number}", "hobby": f"h{number}"}))
    ties = [
        call(
            "track",
            event="A",
            anonymousId=f"d{number}",
            context={"traits": {"loyaltyId": f"L{number}", "phone": PHONE}},
        )
        for number in people
    ]
    for tie in ties[:-1]:
        desk.send(tie)
    with failing_once(desk, monkeypatch), pytest.raises(Unavailable):
        desk.send(ties[-1])
    assert desk.rows("SELECT 1 FROM profile_link WHERE undone_at IS NOT NULL"), "the number proved to be many people's"
    assert desk.statuses(ties[-1]) == ["accepted"]
    check_mended(desk)


def test_a_signal_that_is_never_sent_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    two(desk)
    with failing_once(desk, monkeypatch), pytest.raises(Unavailable):
        desk.send(call("identify", userId="u2", traits={"city": "Graz"}))
    check_mended(desk)


@pytest.mark.parametrize("by", ["browser", "server"])
@pytest.mark.parametrize("calls", [1, 20])
def test_an_intake_that_is_killed_before_it_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, by: str, calls: int
) -> None:
    """Whatever ends it: a browser's one call is not sent again, nor is that of many a server."""

    def killed(*_: Any) -> int:
        raise SystemExit

    first, looks = ([viewed("tea", anonymousId=f"d{number}") for number in range(calls)] for _ in range(2))
    desk.send(*first)
    with monkeypatch.context() as broken:
        broken.setattr(desk.intake.publisher, "write_states", killed)
        with pytest.raises(SystemExit):
            desk.send(*looks, via=desk.browser if by == "browser" else None)
    check_mended(desk)


def test_notes_of_what_was_told_go_with_the_next_signals(desk: Desk) -> None:
    for number in range(5):
        desk.send(call("identify", userId=f"u{number}", traits={"city": "Graz"}))
        assert desk.rows("SELECT count(*) FROM state_due") == [(1,)]
    repeated = call("identify", userId="u1", traits={"city": "Bonn"})
    desk.send(repeated)
    desk.send(repeated)
    assert desk.rows("SELECT count(*) FROM state_due") == [(0,)]


def test_what_went_well_leaves_no_note(desk: Desk) -> None:
    one, other = two(desk)
    number = joining.join(desk.intake, one, other, NOW, by="x")
    take_apart(desk.intake, number, NOW, apart=True, by="x")
    membership.assign(desk.intake, 7, [one], NOW)
    assert desk.rows("SELECT count(*) FROM state_due") == [(0,)]


def test_a_piece_of_an_import_leaves_no_note_however_many_people_are_in_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "AT_ONCE", 3)
    desk.send(*(identified(f"u{number}") for number in range(5)))
    assert desk.rows("SELECT count(*) FROM state_due") == [(0,)]


def test_a_word_that_is_told_of_somebody_and_not_published(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = two(desk)

    def killed(*_: Any) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(desk.intake.publisher, "write_states", killed)
        with pytest.raises(KeyboardInterrupt):
            set_consent(desk.intake, one, "email", False, at=NOW, now=NOW, via="support", message_id="c1")
    check_mended(desk)
