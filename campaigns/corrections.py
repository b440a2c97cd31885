"""What support corrects and adds on a customer's page: each is a signal, in effect at the next open, and logged.

A correction says of one line of a signal (a purchase, a look, a cart) that it was a gift, not for them, somebody
else's, or that they own it already. It can be taken back; the fold then reads the record as if it had never been said.
Of one line the newest correction stands. Complaints and notes of calls steer what is shown by rules, and by the
complaint that is open.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct
from sqlalchemy import select
from sqlalchemy.orm import Session

from base.db import transaction
from base.errors import InvalidInput, NotFound
from campaigns import admin_log, customers
from campaigns.admin_log import Actor
from signals import sealingkeys
from signals.events import Event
from signals.foldevent import Word, kind_of, product_id
from signals.intake import Intake
from signals.sources import INTERNAL, Sender, Source, keyless_sender
from signals.telling import Fact, tell, tell_all

WORDS: Final[Mapping[Word, str]] = {
    "gift": "A gift",
    "not_for_me": "Not for them",
    "wrong_person": "Somebody else’s",
    "already_own": "They own it already",
}
CORRECTABLE: Final = frozenset({"order", "view", "cart_add", "registered"})
"""Kinds of signals whose lines can be corrected."""
MAX_LINES: Final = 50
"""Lines of a signal that are offered for correction."""
MAX_ROUNDS: Final = 50
"""How often one line may be corrected anew."""
MAX_TEXT: Final = 1_000
FEEDBACK: Final = "Offer Feedback"
WITHDRAWN: Final = "Offer Feedback Withdrawn"
TEXTS: Final = ("text", "note", "body", "message", "comment")
"""Properties by which sources tell what was said in a complaint or a call; support says `text`."""
ADDED: Final = {"note": "Call Note Added", "complaint": "Complaint Opened"}

Note = Callable[[Session], None]
"""What writes the line of the admin log, in the transaction of what it tells."""
Place = tuple[int, int]
"""A signal, and the number of a line of it."""
Text = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]


class CorrectionIn(Struct, frozen=True, forbid_unknown_fields=True):
    """What is wrong: `event` and `line` are those of an entry of the timeline, `word` says what it really was."""

    event: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    line: Annotated[int, Meta(ge=0, lt=MAX_LINES)]
    word: Word


class AddedIn(Struct, frozen=True, forbid_unknown_fields=True):
    """What a customer told us: a complaint, open until it is settled, or the note of a call."""

    kind: Literal["note", "complaint"]
    text: Text


@dataclass(frozen=True)
class Line:
    """One thing that a signal is about, and the correction of it that stands, if any."""

    number: int
    words: str
    product: str
    category: str
    corrected: Word | None = None


@dataclass(frozen=True)
class Round:
    """A correction of a line, under the profile that it was told of, and whether it stands."""

    message_id: str
    word: Word
    stands: bool
    profile: int


def lines(name: str | None, type_: str, body: Mapping[str, Any]) -> tuple[Line, ...]:
    """The lines of a signal that can be corrected, at most MAX_LINES; empty for other signals."""
    properties = body.get("properties")
    if kind_of(type_, name) not in CORRECTABLE or not isinstance(properties, dict):
        return ()
    products = properties.get("products")
    listed = products if isinstance(products, list) else [properties]
    found = []
    for number, one in enumerate(listed[:MAX_LINES]):
        if isinstance(one, dict):
            product, category = product_id(one), one.get("category")
            category = category if isinstance(category, str) else ""
            title = one.get("name")
            words = title if isinstance(title, str) and title else category or product
            if product or category:
                found.append(Line(number, words, product, category))
    return tuple(found)


def corrected(session: Session, members: Sequence[int], rows: Sequence[Event]) -> dict[int, tuple[Line, ...]]:
    """The lines of these signals that can be corrected, by signal, with the corrections that stand."""
    found = {row.id: own for row in rows if row.body and (own := lines(row.name, row.type, row.body))}
    told = _told(session, members, [f"{event}-{line.number}" for event, own in found.items() for line in own])
    words = {place: rounds[-1].word for place, rounds in told.items() if rounds[-1].stands}
    return {
        event: tuple(replace(line, corrected=words.get((event, line.number))) for line in own)
        for event, own in found.items()
    }


def words(name: str | None, properties: Mapping[str, Any]) -> str | None:
    """What a correction says, in words; None for other signals."""
    if name == FEEDBACK:
        said = properties.get("feedback")
        about = properties.get("name") or properties.get("category") or properties.get("product_id") or ""
        word = next((words for word, words in WORDS.items() if word == said), str(said))
        return f"{word}: {about}" if about else word
    return None


def text_of(properties: Mapping[str, Any]) -> tuple[str, str]:
    """What was said in a complaint or a call, with the property that tells it; ("", "") where none does."""
    told = ((name, properties.get(name)) for name in TEXTS)
    return next(((name, said[:MAX_TEXT]) for name, said in told if isinstance(said, str) and said.strip()), ("", ""))


def correct(intake: Intake, profile: int, wanted: CorrectionIn, now: datetime, by: Actor) -> None:
    """Correct one line of one signal: in effect when this returns. Saying the same again changes nothing; another word
    takes the place of the one that stands, in one transaction. Of two people at once the later one's word stands. It is
    told of the profile that the signal came by, so that both go the same way when a merge is undone.

    Raises NotFound, InvalidInput for a line that there is not, Unavailable.
    """
    sender = _sender(intake, now)
    place, name = (wanted.event, wanted.line), f"feedback-{wanted.event}-{wanted.line}"
    while True:
        with transaction(intake.sessions) as session:
            root = customers.root_of(session, profile).id
            members = customers.members(session, root)
            row = session.scalar(select(Event).where(Event.id == wanted.event, Event.profile_id.in_(members)))
            if row is None:
                raise NotFound("signal of this customer", wanted.event)
            line = next((one for one in lines(row.name, row.type, row.body) if one.number == wanted.line), None)
            if line is None:
                raise InvalidInput("line", "is no line of this signal that can be corrected")
            rounds = _rounds(session, root, place)
            order, owner = row.order_id, row.profile_id
        stands = bool(rounds) and rounds[-1].stands
        if stands and rounds[-1].word == wanted.word:
            return
        if len(rounds) >= MAX_ROUNDS:
            raise InvalidInput("line", f"was corrected {MAX_ROUNDS} times: that is enough")
        said = {"feedback": wanted.word, "event": wanted.event, "line": wanted.line, "name": line.words}
        said |= {"product_id": line.product} if line.product else {}
        said |= {"category": line.category} if line.category else {}
        said |= {"order_id": order} if order else {}
        done = {"event": wanted.event, "line": wanted.line, "word": wanted.word}
        note = _noting(root, by, "correct record", now, done)
        # Not numbered: others may stand under a profile that was merged when they were told, and is no more.
        news = [(Fact(owner, FEEDBACK, said, now, f"{name}-{secrets.token_hex(6)}"), note)]
        if stands:
            news.insert(0, _withdrawal(root, rounds[-1], place, now, by))
        if _said(intake, sender, root, place, rounds, news, now):
            return


def take_back(intake: Intake, profile: int, event: int, line: int, now: datetime, by: Actor) -> None:
    """Take the correction of a line back: the record counts again as it came. Raises NotFound, Unavailable."""
    sender = _sender(intake, now)
    while True:
        with transaction(intake.sessions) as session:
            root = customers.root_of(session, profile).id
            rounds = _rounds(session, root, (event, line))
        if not rounds or not rounds[-1].stands:
            raise NotFound("correction of this line", f"{event}/{line}")
        news = [_withdrawal(root, rounds[-1], (event, line), now, by)]
        if _said(intake, sender, root, (event, line), rounds, news, now):
            return


def add(intake: Intake, profile: int, wanted: AddedIn, now: datetime, by: Actor) -> str:
    """Add a complaint or the note of a call; returns the complaint's number, or that of the note.

    Raises NotFound, InvalidInput, Unavailable.
    """
    text = wanted.text.strip()
    if not text or "\x00" in text:
        raise InvalidInput("text", "must say something")
    number = secrets.token_hex(6)
    root = _root(intake, profile)
    said = {"text": text} | ({"complaint_id": number} if wanted.kind == "complaint" else {})
    # The log says that something was added, and not what: what a customer said belongs to them alone.
    note = _noting(root, by, f"add {wanted.kind}", now, {})
    _say(intake, _sender(intake, now), root, ADDED[wanted.kind], said, f"{wanted.kind}-{number}", now, note)
    return number


def settle(intake: Intake, profile: int, case: str, now: datetime, by: Actor) -> None:
    """Note that a complaint is settled. Raises NotFound for one that is not open, Unavailable."""
    root = _root(intake, profile)
    with transaction(intake.sessions) as session:
        known = customers.document(session, root) or {}
    if case not in (known.get("complaints") or {}):
        raise NotFound("open complaint of this customer", case)
    _say(
        intake, _sender(intake, now), root, "Complaint Closed", {"complaint_id": case} if case else {},
        f"settled-{secrets.token_hex(6)}", now, _noting(root, by, "settle complaint", now, {}),
    )  # fmt: skip


class _Overtaken(Exception):
    """Somebody else corrected the line since its corrections were read."""


def _said(
    intake: Intake,
    sender: Sender,
    root: int,
    place: Place,
    rounds: Sequence[Round],
    news: Sequence[tuple[Fact, Note]],
    now: datetime,
) -> bool:
    """Tell these facts of a line, with what the log says of each, if its corrections are still those that were read."""

    def unchanged(session: Session) -> None:
        if _rounds(session, root, place) != rounds:
            raise _Overtaken

    def noted(session: Session) -> None:
        for _, note in news:
            note(session)

    try:
        done = tell_all(intake, sender, [fact for fact, _ in news], now, along=noted, first=unchanged)
    except _Overtaken:
        return False
    if done is None:
        raise NotFound("customer", root)
    return True


def _withdrawal(root: int, said: Round, place: Place, now: datetime, by: Actor) -> tuple[Fact, Note]:
    fact = Fact(said.profile, WITHDRAWN, {"message_id": said.message_id}, now, f"{said.message_id}-withdrawn")
    return fact, _noting(root, by, "take back correction", now, {"event": place[0], "line": place[1]})


def _rounds(session: Session, root: int, place: Place) -> list[Round]:
    """Every correction of a line, the oldest first."""
    return _told(session, customers.members(session, root), ["{}-{}".format(*place)]).get(place, [])


def _told(session: Session, members: Sequence[int], named: Sequence[str]) -> dict[Place, list[Round]]:
    """Every correction of these lines ("event-line"), the oldest first, but for those that are damaged: they count for
    nothing, as elsewhere."""
    found: dict[Place, list[Round]] = {}
    if not named:
        return found
    wanted = set(named)
    query = (
        select(Event)
        .where(
            Event.profile_id.in_(members),
            Event.name.in_((FEEDBACK, WITHDRAWN)),
            Event.source_id == select(Source.id).where(Source.name == INTERNAL).scalar_subquery(),
        )
        .order_by(Event.id)
    )
    rows = [row for row in sealingkeys.rows(session, query, Event.body) if row.body]
    withdrawn = {row.body["properties"].get("message_id") for row in rows if row.name == WITHDRAWN}
    for row in rows:
        prefix, _, _ = row.message_id.rpartition("-")
        kind, _, line = prefix.partition("-")
        if row.name == FEEDBACK and kind == "feedback" and line in wanted:
            event, _, number = line.partition("-")
            said, stands = row.body["properties"]["feedback"], row.message_id not in withdrawn
            found.setdefault((int(event), int(number)), []).append(Round(row.message_id, said, stands, row.profile_id))
    return found


def _say(
    intake: Intake,
    sender: Sender,
    root: int,
    name: str,
    said: Mapping[str, Any],
    message_id: str,
    now: datetime,
    note: Note,
) -> None:
    if tell(intake, sender, root, name, said, at=now, now=now, message_id=message_id, along=note) is None:
        raise NotFound("customer", root)


def _sender(intake: Intake, now: datetime) -> Sender:
    return intake.settle(lambda session: keyless_sender(session, INTERNAL, now))


def _root(intake: Intake, profile: int) -> int:
    with transaction(intake.sessions) as session:
        return customers.root_of(session, profile).id


def _noting(root: int, by: Actor, action: str, now: datetime, after: Mapping[str, Any]) -> Note:
    return lambda session: admin_log.record(session, by, action, "customer", root, now, after=after)
