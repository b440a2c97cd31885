"""One GET for something that shows a decision, and the open it turns out to belong to."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import msgspec

from base.clock import monotonic
from base.ids import Delivery
from base.tokens import Token
from render.agree import Names, Personal
from render.cache import Picture
from render.classify import Verdict
from render.facts import LANE_OF, Chosen, Lane, LaneName, LastShown
from render.lookup import Running
from render.plan import Plan
from render.pressure import Step
from render.record import FetchRecord, Record
from signals.state import ProfileState


class Fetch(msgspec.Struct, frozen=True):
    """What is asked for, by whom, and until when it must be answered.

    `kind` is picture, dark, html, view, amp or decide; `token.slot` 255 means all slots. `deadline` and `started` are
    monotonic seconds. `contact` names the contact of a channel without deliveries; `delivery_name` stands for either.
    `id` is its record's: a request leaves one record, also when it cannot tell whether a first try at it was taken.
    `step` is what it may cost: a process that is behind leaves out the model, or the whole decision.
    """

    token: Token
    delivery: Delivery
    kind: str
    names: Names
    delivery_name: str
    verdict: Verdict
    now: datetime
    now_ms: int
    started: float
    deadline: float
    contact: str | None = None
    step: Step = Step.FULL
    id: str = msgspec.field(default_factory=partial(secrets.token_hex, 16))

    @property
    def lane(self) -> LaneName:
        """The lane its class belongs to."""
        return LANE_OF[self.verdict.fetch_class]

    @property
    def lane_name(self) -> str:
        """The lane among all lanes of this profile and campaign: a contact's own, or the delivery's."""
        return self.lane if self.contact is None else f"{self.lane}:{self.delivery_name}"

    @property
    def is_picture(self) -> bool:
        """Whether a picture answers it."""
        return self.kind in ("picture", "dark")

    @property
    def time_left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - monotonic()


@dataclass(slots=True)
class Open:
    """The open a fetch belongs to. `records` must be accepted before anything of it leaves.

    `is_recorded` False: this person may not be written down, only counted. `is_agreed` False: the store was away, so
    nothing was or can be marked. `is_last`: an earlier open, shown once more for want of a new one. `uses` are the
    (offer, group) that count against the person. `picture` is set when it was at hand, marked and recorded with the
    agreement. `personal` are the keys as this process last knew them.
    """

    running: Running
    plan: Plan
    plan_hash: str
    lane: Lane
    locale: str
    is_recorded: bool = True
    is_agreed: bool = True
    is_new: bool = False
    is_last: bool = False
    records: tuple[Record, ...] = ()
    uses: tuple[tuple[int, str | None], ...] = ()
    picture: Picture | None = None
    personal: Personal | None = None
    state: ProfileState | None = None

    @property
    def decision(self) -> str:
        """The id of its decision."""
        return self.lane.decision

    @property
    def is_anonymous(self) -> bool:
        """Whether nothing that names the person may be kept of it."""
        return self.plan.tracking == "anonymous"

    @property
    def chosen(self) -> tuple[Chosen, ...]:
        """What it shows, by slot."""
        return self.lane.chosen

    def rung(self, drawn: str) -> str:
        """The rung of its own picture, where it is not that of a full decision; `drawn` (cached, drawn) where it is."""
        if self.is_last:
            return "last"
        return drawn if self.is_agreed else "default"

    def in_slot(self, slot: int) -> Chosen | None:
        """What it shows in a slot; None if its plan has no such slot."""
        return self.lane.in_slot(slot)

    def sight(self, fetch: Fetch, offer: int) -> LastShown:
        """The sight that a served block leaves."""
        chosen, planned = self.in_slot(fetch.token.slot), self.plan.offer_by_id.get(offer)
        is_picked = chosen is not None and chosen.offer == offer and planned is not None and planned.pick is not None
        product = chosen.product if is_picked and chosen is not None else None
        return LastShown(
            offer, self.decision, fetch.now_ms, fetch.verdict.fetch_class, product=product or ""
        )  # fmt: skip


PictureOf = Callable[[Open], Picture | None]
"""The picture of a fetch in an open, if it is at hand; None when it must be drawn, or when no picture is wanted."""
RecordOf = Callable[[Open, Picture, str], FetchRecord]
"""The record of a picture served from a rung of the ladder."""
