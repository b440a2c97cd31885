"""Scenario tests: what a campaign must show somebody of whom this is known, kept with it, asked before it goes out.

`decide` itself answers, on facts that are changed in memory as the decision explorer changes them. Publishing asks all
of them of the plan it makes and keeps the answers; what fails one cannot be scheduled, or shown in mails that left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from base.blobs import FolderBlobs
from base.clock import check_year
from base.errors import Conflict, InvalidInput, LatebindError, NotFound
from base.stores import Store
from campaigns import admin_log, locks
from campaigns.admin_log import Actor
from campaigns.campaigns import Id
from campaigns.compiling import compile_campaign
from campaigns.exploring import Changes, Number, changed, changed_person
from campaigns.mail import CompiledMail
from campaigns.models.campaign import Campaign
from campaigns.models.scenario import Scenario
from campaigns.previewing import CHARGE_CENTS
from campaigns.scenes import HELD_OUT, Scene, compiled_scene
from render.decide import decide, seed_of
from render.decision import Decision
from render.facts import Facts
from render.plan import Kind, Offer, Plan, digest, encode
from render.preview import supposing
from signals.foldevent import FoldEvent, Line
from signals.moments import unix_ms
from signals.state import ProfileState

MAX_SCENARIOS: Final = 50
"""Of one campaign: all of them are asked whenever it is changed or published."""
MAX_PURCHASES: Final = 20
MAX_DAYS: Final = 3650
JUST_BEFORE: Final = timedelta(seconds=1)
DAY: Final = timedelta(days=1)
AFTER_MAIL: Final = timedelta(minutes=1)
"""How long after a test mail what its scenario supposes has happened: senders take some seconds."""

Days = Annotated[int, Meta(ge=1, le=MAX_DAYS)]


class Purchase(Struct, frozen=True, forbid_unknown_fields=True):
    """A category (by number) that was bought so many days before the mail was sent."""

    category: Number
    days: Days


class Expected(Struct, frozen=True, forbid_unknown_fields=True):
    """What a place must show: this offer, or any offer of this kind; exactly one of the two."""

    slot: Annotated[int, Meta(ge=0, le=254)]
    offer: Id | None = None
    kind: Kind | None = None


class ScenarioIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody, what happens to them, and what the campaign must then show in its places.

    `profile` is a customer; without one it is somebody made up who has given every consent that the campaign asks for,
    and `before` is what they had bought. The mail leaves when the campaign is due, or now; it is opened `after_days`
    later, or at `changes.at`, and what `changes` suppose has happened by then.
    """

    name: Annotated[str, Meta(min_length=1, max_length=120)]
    profile: Annotated[int, Meta(ge=1, le=2**53 - 1)] | None = None
    before: Annotated[tuple[Purchase, ...], Meta(max_length=MAX_PURCHASES)] = ()
    after_days: Annotated[int, Meta(ge=0, le=MAX_DAYS)] = 0
    changes: Changes = Changes()
    expected: Annotated[tuple[Expected, ...], Meta(min_length=1, max_length=16)]


class Verdict(Struct, frozen=True):
    """How a scenario went: `told` holds a sentence for whatever is not as expected, and nothing where it passed."""

    scenario: int
    name: str
    told: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every place shows what is expected."""
        return not self.told


def add(session: Session, row: Campaign, content: ScenarioIn, now: datetime, by: Actor) -> Scenario:
    """Keep a scenario with a campaign. Raises InvalidInput naming the field, Conflict when the name is taken.

    Like every change, it is refused with a Conflict while the campaign is locked.
    """
    locks.refuse(row)
    if (session.scalar(_counted(row.id)) or 0) >= MAX_SCENARIOS:
        raise Conflict(f"A campaign has at most {MAX_SCENARIOS} scenarios.")
    _check(session, row, content, None)
    made = Scenario(campaign_id=row.id, created_at=now, updated_at=now, told=[], **_columns(content))
    session.add(made)
    session.flush()
    admin_log.record(session, by, "create", "scenario", made.id, now, after=admin_log.snapshot(made))
    return made


def change(session: Session, row: Campaign, number: int, content: ScenarioIn, now: datetime, by: Actor) -> Scenario:
    """Replace a scenario; it counts as not asked until it is. Raises NotFound, InvalidInput, Conflict."""
    locks.refuse(row)
    found = scenario(session, row.id, number)
    before = admin_log.snapshot(found)
    _check(session, row, content, number)
    for name, value in _columns(content).items():
        setattr(found, name, value)
    found.passed, found.told, found.plan_hash, found.updated_at = None, [], None, now
    session.flush()
    admin_log.record(session, by, "change", "scenario", number, now, before=before, after=admin_log.snapshot(found))
    return found


def remove(session: Session, row: Campaign, number: int, now: datetime, by: Actor) -> None:
    """Ask a scenario no more. Raises NotFound, Conflict."""
    locks.refuse(row)
    found = scenario(session, row.id, number)
    session.delete(found)
    session.flush()
    admin_log.record(session, by, "delete", "scenario", number, now, before=admin_log.snapshot(found))


def scenario(session: Session, campaign_id: int, number: int) -> Scenario:
    """One scenario of a campaign. Raises NotFound."""
    found = session.get(Scenario, number)
    if found is None or found.campaign_id != campaign_id:
        raise NotFound("scenario", number)
    return found


def scenarios(session: Session, campaign_id: int) -> list[Scenario]:
    """A campaign's scenarios, the oldest first."""
    query = select(Scenario).where(Scenario.campaign_id == campaign_id).order_by(Scenario.id)
    return list(session.scalars(query))


def content(row: Scenario) -> ScenarioIn:
    """A stored scenario as it could be written again."""
    return msgspec.convert(row.content, ScenarioIn)


def ask(
    session: Session,
    store: Store,
    blobs: FolderBlobs,
    row: Campaign,
    plan: Plan,
    mail: CompiledMail,
    now: datetime,
) -> list[Verdict]:
    """How every scenario of a campaign goes with this plan, which `row` was compiled into. Nothing is kept."""
    left = max(row.due_at or now, now)
    scenes: dict[int | None, Scene] = {}

    def scene(profile: int | None) -> Scene:
        if profile not in scenes:
            found = compiled_scene(session, store, blobs, row, profile, left - JUST_BEFORE, plan, mail)
            if found.live is HELD_OUT:
                raise InvalidInput("profile", "is in the content holdout, who get the neutral content")
            scenes[profile] = found
        return scenes[profile]

    return [
        Verdict(one.id, one.name, tuple(dict.fromkeys(_faults(scene, content(one), left))))
        for one in scenarios(session, row.id)
    ]


def as_written(
    session: Session, store: Store, blobs: FolderBlobs, row: Campaign, now: datetime
) -> tuple[str, list[Verdict]]:
    """The hash of the plan that what is written would become, and how the scenarios go with it.

    Raises InvalidInput when what is written could not be published.
    """
    plan, mail = compile_campaign(session, row)
    return digest(encode(plan)), ask(session, store, blobs, row, plan, mail, now)


def ask_anew(session: Session, store: Store, blobs: FolderBlobs, row: Campaign, now: datetime) -> None:
    """Ask the scenarios once more, of what is published, after one of them has changed; else publishing will.

    Raises InvalidInput when what is written could not be published.
    """
    plan_hash, verdicts = as_written(session, store, blobs, row, now)
    if plan_hash == row.plan_hash:
        keep(session, verdicts, plan_hash, now)


def keep(session: Session, verdicts: Iterable[Verdict], plan_hash: str, now: datetime) -> None:
    """Remember how the scenarios went with a plan that is now published."""
    for verdict in verdicts:
        row = session.get_one(Scenario, verdict.scenario)
        row.passed, row.told, row.plan_hash, row.asked_at = verdict.passed, list(verdict.told), plan_hash, now
    session.flush()


def failing(session: Session, row: Campaign) -> list[str]:
    """A sentence for each scenario that the published plan fails, or was not asked yet."""
    told = []
    for one in scenarios(session, row.id):
        if one.plan_hash != row.plan_hash or one.passed is None:
            told.append(f"The scenario “{one.name}” was not asked of what is published: publish it again.")
        elif not one.passed:
            told.append(failed(Verdict(one.id, one.name, tuple(one.told))))
    return told


def failed(verdict: Verdict) -> str:
    """A scenario that did not pass, in one sentence."""
    return f"The scenario “{verdict.name}” fails: {' '.join(verdict.told)}"


def _faults(scene: Callable[[int | None], Scene], wanted: ScenarioIn, left: datetime) -> Iterator[str]:
    """What is not as expected. A scenario that cannot be asked any more fails with the reason."""
    try:
        _check_moment(wanted)
        found = scene(wanted.profile)
        at = wanted.changes.at or left + wanted.after_days * DAY
        facts = _facts(found, wanted, at, left)
        # A campaign that is switched off for now must be put right as the campaign that it is.
        facts = replace(facts, live=replace(facts.live, state="live"))
        for shown, arm in _versions(found.plan, wanted.profile):
            decision = decide(shown, facts, at, seed_of(found.delivery, found.shown.live.open_number + 1))
            for one in wanted.expected:
                yield from _told(found.plan, one, decision, arm)
    except LatebindError as error:
        yield f"It cannot be asked: {error}"


def _versions(plan: Plan, profile: int | None) -> Iterator[tuple[Plan, str]]:
    """The plan a customer is shown; of somebody made up that of every arm, with its name."""
    if profile is not None or not plan.by_arm:
        yield plan.shown_to(profile or 0), ""
        return
    for number, version in enumerate(plan.by_arm, start=1):
        yield version, f" in version {number}"


def _told(plan: Plan, one: Expected, decision: Decision, arm: str) -> Iterator[str]:
    slot = plan.slot_by_index.get(one.slot)
    if slot is None:
        yield f"There is no place {one.slot} any more."
        return
    shown = plan.offer_by_id[slot.default if decision.no_record else decision.slot(one.slot).offer]
    if one.offer is not None and shown.id != one.offer:
        wanted = plan.offer_by_id.get(one.offer)
        yield f"{slot.name.capitalize()}{arm} shows {_named(shown)}, not “{wanted.name if wanted else one.offer}”."
    if one.kind is not None and shown.kind != one.kind:
        yield f"{slot.name.capitalize()}{arm} shows {_named(shown)}, not an offer of kind {one.kind}."


def _named(offer: Offer) -> str:
    return f"“{offer.name}” ({offer.kind})"


def _facts(scene: Scene, wanted: ScenarioIn, at: datetime, left: datetime) -> Facts:
    facts = replace(scene.facts, last=None)
    if wanted.profile is None:
        facts = replace(facts, state=somebody(scene.plan, wanted, left))
    return changed(scene.plan, facts, wanted.changes, at)


def somebody(plan: Plan, wanted: ScenarioIn, left: datetime) -> ProfileState:
    """Who is made up for a scenario, as known when the mail leaves at `left`."""
    state = ProfileState(consent=dict.fromkeys(plan.needs_consent, True))
    bought = sorted(wanted.before, key=lambda one: -one.days)
    events = [
        FoldEvent(
            time_ms=unix_ms(left - one.days * DAY), message_id=f"scenario-{place}", kind="order",
            order_id=f"scenario-{place}", lines=(Line("scenario", one.category, 1, CHARGE_CENTS),),
            total_cents=CHARGE_CENTS, arrival=place,
        )
        for place, one in enumerate(bought, start=1)
    ]  # fmt: skip
    return supposing(state, events)


def recipient(plan: Plan, wanted: ScenarioIn, now: datetime) -> ProfileState:
    """Who a scenario makes up, as a test mail that leaves now finds them: what happens has happened a minute later.

    Raises InvalidInput for a scenario about a customer.
    """
    if wanted.profile is not None:
        raise InvalidInput("scenario", "is about a customer: send the test as that customer")
    return changed_person(somebody(plan, wanted, now), wanted.changes, now + AFTER_MAIL)


def _counted(campaign_id: int) -> Any:
    return select(func.count()).select_from(Scenario).where(Scenario.campaign_id == campaign_id)


def _columns(content: ScenarioIn) -> dict[str, Any]:
    return {"name": content.name.strip(), "content": msgspec.to_builtins(content)}


def _check(session: Session, row: Campaign, content: ScenarioIn, number: int | None) -> None:
    if not content.name.strip():
        raise InvalidInput("name", "must not be empty")
    if content.profile is not None and content.before:
        raise InvalidInput("before", "belongs to somebody made up: what a customer had bought is known")
    if content.changes.at is not None and content.after_days:
        raise InvalidInput("after_days", "cannot be given with a moment")
    _check_moment(content)
    shown = {choice["slot"]: {*choice["offers"], choice["default"]} for choice in row.slots}
    for place, one in enumerate(content.expected):
        at = f"expected[{place}]"
        if (one.offer is None) == (one.kind is None):
            raise InvalidInput(f"{at}.offer", "or a kind must be given, and not both")
        if one.slot not in shown:
            raise InvalidInput(f"{at}.slot", "is no place of this campaign")
        if one.offer is not None and one.offer not in shown[one.slot]:
            raise InvalidInput(f"{at}.offer", "is none that this place may show")
    if len({one.slot for one in content.expected}) != len(content.expected):
        raise InvalidInput("expected", "names a place twice")
    taken = select(Scenario.id).where(Scenario.campaign_id == row.id, Scenario.name == content.name.strip())
    if session.scalar(taken) not in (None, number):
        raise Conflict("Another scenario of this campaign has this name.")


def _check_moment(content: ScenarioIn) -> None:
    if content.changes.at is not None:
        check_year(content.changes.at, "changes.at")
