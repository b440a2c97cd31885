"""What an open reads, in one round trip: the person's three keys, and with them whatever this process holds too long.

Live keys, plans, product facts and cap balances are held in process; all but plans (which never change) at most
`HELD_SECONDS`, and are read again in the same flight as the person's keys. When the store is away the last held plan
still says what the defaults look like, and nothing else is taken from it.

Of a cluster one node may be away: without the person's keys, the live key or a plan that is new, it is as if all were;
without a product or a cap, offers that need it are left out like those whose key was lost, but nothing is called lost.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, Final, NamedTuple, TypeVar

import hiredis
import msgspec

from base import keys
from base.clock import monotonic
from base.errors import UNREADABLE, InvalidInput, Unavailable
from base.ids import Delivery
from render.agree import Names, Personal, whole_number
from render.metrics import Metrics
from render.model import Model
from render.plan import Live, Plan, decode, decode_live
from render.relations import Relations
from render.shelf import ModelShelf, RelationsShelf
from render.trial import models_of
from render.wire import AWAY, Command, Hot
from signals.productfacts import ProductFacts

Value = TypeVar("Value")

HELD_SECONDS: Final = 0.9
"""Less than the second that is promised, because the trip itself takes time."""
MAX_CAMPAIGNS: Final = 1000
MAX_PLANS: Final = 128

_product: Final = msgspec.msgpack.Decoder(ProductFacts).decode


class Running(NamedTuple):
    """What a campaign runs, as this process knows it. `plan` is None when the live key or the plan is not there.

    `product_bytes` are what `products` were read from. `missing` names keys that must exist and do not, `unread` those
    of a cluster's node that is away, `product:…` or `cap:…`. `read_at` is monotonic seconds. `model_before` is the
    newest model of the campaign that this process had loaded. Before `from_ms` and from `until_ms` on (Unix
    milliseconds) another plan counts.
    """

    campaign: int
    live: Live | None
    plan: Plan | None
    plan_hash: str
    products: Mapping[str, ProductFacts]
    product_bytes: Mapping[str, bytes]
    caps: Mapping[int, int]
    missing: tuple[tuple[str, str], ...]
    read_at: float
    model_before: str | None = None
    from_ms: int = 0
    until_ms: int = sys.maxsize
    unread: frozenset[str] = frozenset()

    def lost(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Of keys that a decision found missing, those that are lost, and not just out of reach."""
        return tuple(name for name in names if name not in self.unread) if self.unread else names

    def holds(self, now_ms: int) -> bool:
        """Whether it may still be decided on at that moment."""
        return monotonic() - self.read_at < HELD_SECONDS and self.from_ms <= now_ms < self.until_ms


class Look(NamedTuple):
    """One look at the store. `personal` is None when it could not be read: then nothing is known about anybody."""

    running: Running | None
    personal: Personal | None


class Lookup:
    """Reads for opens. For many threads."""

    def __init__(self, hot: Hot, models: ModelShelf, relations: RelationsShelf, metrics: Metrics) -> None:
        self._hot = hot
        self._models = models
        self._relations = relations
        self._metrics = metrics
        self._running: OrderedDict[int, Running] = OrderedDict()
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._lock = Lock()

    def read(self, campaign: int, names: Names, now_ms: int) -> Look:
        """The campaign as it is at that moment, and the person's keys. Never raises: what could not be read is None."""
        held = self._running.get(campaign)
        try:
            if held is not None and held.holds(now_ms):
                (reply,) = self._hot.call(("MGET", *names))
                return Look(held, Personal(*reply))
            return self._read_all(campaign, held, names, now_ms)
        except (Unavailable, hiredis.ReplyError):
            return Look(held, None)

    def running(self, campaign: int, now_ms: int) -> Running | None:
        """The campaign alone, for whoever may not be looked up; None when it was never read and cannot be now."""
        held = self._running.get(campaign)
        if held is not None and held.holds(now_ms):
            return held
        try:
            return self._refreshed(campaign, held, self._hot.gather(*self._questions(campaign, held)), now_ms)
        except (Unavailable, hiredis.ReplyError):
            return held

    def was_unfollowed(self, campaign: int) -> bool:
        """Whether the campaign was not followed when it was last read: then nobody's keys need be asked for."""
        held = self._running.get(campaign)
        return held is not None and held.plan is not None and held.plan.tracking == "none"

    def model(self, running: Running, delivery: Delivery) -> Model | None:
        """The model that scores this delivery's slots of mode "model"; None where that is up to the rules.

        One on trial that is not loaded leaves its deliveries to the live one. While the live one cannot be loaded the
        one before it stays, as far as this process knew it.
        """
        live = running.live
        if live is None:
            return None
        for digest in models_of(live, delivery):
            model = self._models.get(digest)
            if model is not None:
                return model
        return self._models.held(running.model_before) if live.model is not None else None

    def relations(self, running: Running) -> Relations | None:
        """What stored orders say of products and categories, if the campaign's plan asks and it is loaded."""
        if running.live is None or running.plan is None or not running.plan.wants_relations:
            return None
        return self._relations.current(running.live.relations)

    def forget(self) -> None:
        """Read every campaign anew at its next open, as if the second it may be held had passed."""
        with self._lock:
            self._running.clear()

    def plans(self) -> list[tuple[str, Plan]]:
        """The plans held now, by hash."""
        with self._lock:
            return list(self._plans.items())

    def plan(self, digest: str) -> Plan | None:
        """A plan by its hash, read if it is not held; None when it cannot be had."""
        try:
            return self._plan(digest)
        except (Unavailable, hiredis.ReplyError):
            return None

    def _plan(self, digest: str) -> Plan | None:
        """A plan by its hash; None when it is not there. Raises Unavailable, hiredis.ReplyError."""
        plan = self._plans.get(digest)
        if plan is None:
            (data,) = self._hot.call(("GET", keys.plan(digest)))
            plan = self._keep_plan(digest, data)
        return plan

    def _read_all(self, campaign: int, held: Running | None, names: Names, now_ms: int) -> Look:
        reply, *answers = self._hot.gather(("MGET", *names), *self._questions(campaign, held))
        running = self._refreshed(campaign, held, answers, now_ms)
        return Look(running, None if AWAY in reply else Personal(*reply))

    def _questions(self, campaign: int, held: Running | None) -> list[Command]:
        """The live key, and what the plan held for it wants; a plan that is new is asked for afterwards."""
        plan = held.plan if held is not None else None
        return [("GET", keys.live(campaign)), *_wants(plan)]

    def _refreshed(self, campaign: int, held: Running | None, answers: list[Any], now_ms: int) -> Running:
        if answers[0] is AWAY:
            # Whether the campaign was switched off cannot be told.
            raise Unavailable("Valkey")
        live = understood(decode_live, answers[0])
        digest = (live.plan_at(now_ms) or "") if live is not None else ""
        same = held is not None and held.plan is not None and held.plan_hash == digest
        plan = held.plan if same and held is not None else self._plan(digest) if digest else None
        if plan is not None and not same:
            wants = _wants(plan)
            answers = [answers[0], *(self._hot.gather(*wants) if wants else ())]
        running = self._running_of(campaign, live, plan, digest, answers[1:])
        from_ms, until_ms = _counts(live, now_ms)
        before = self._model_before(live, held)
        running = running._replace(model_before=before, from_ms=from_ms, until_ms=until_ms)
        with self._lock:
            self._running[campaign] = running
            self._running.move_to_end(campaign)
            while len(self._running) > MAX_CAMPAIGNS:
                self._running.popitem(last=False)
        self.relations(running)
        return running

    def _model_before(self, live: Live | None, held: Running | None) -> str | None:
        """The live model once it is loaded, until then the one before it. Also has those loaded that are not yet."""
        if live is None or live.model is None:
            before = None
        elif self._models.get(live.model) is not None:
            before = live.model
        else:
            before = held.model_before if held is not None else None
        if live is not None and live.canary is not None:
            self._models.get(live.canary.model)
        return before

    def _running_of(
        self, campaign: int, live: Live | None, plan: Plan | None, digest: str, answers: list[Any]
    ) -> Running:
        products: dict[str, ProductFacts] = {}
        product_bytes: dict[str, bytes] = {}
        caps: dict[int, int] = {}
        missing: list[tuple[str, str]] = []
        unread: list[str] = []
        if live is None:
            missing.append(("live", ""))
        elif plan is None and digest:
            missing.append(("plan", digest))
        if plan is not None:
            rest = answers
            if plan.product_ids:
                for name, data in zip(plan.product_ids, answers[0], strict=True):
                    if data is AWAY:
                        unread.append(f"product:{name}")
                        continue
                    facts = understood(_product, data)
                    if facts is None:
                        missing.append(("product", name))
                    else:
                        products[name], product_bytes[name] = facts, data
                rest = answers[1:]
            for offer, left in zip(plan.capped_ids, rest, strict=True):
                if left is AWAY:
                    unread.append(f"cap:{offer}")
                    continue
                balance = whole_number(left)
                if balance is None:
                    missing.append(("cap", str(offer)))
                else:
                    caps[offer] = balance
        return Running(
            campaign, live, plan, digest, products, product_bytes, caps, tuple(missing), monotonic(),
            unread=frozenset(unread),
        )  # fmt: skip

    def _keep_plan(self, digest: str, data: bytes | None) -> Plan | None:
        if data is None:
            return None
        try:
            plan = decode(data)
        except InvalidInput:
            self._metrics.count("errors", value="other")
            return None
        with self._lock:
            self._plans[digest] = plan
            self._plans.move_to_end(digest)
            while len(self._plans) > MAX_PLANS:
                self._plans.popitem(last=False)
        return plan


def _wants(plan: Plan | None) -> list[Command]:
    """The commands that read a plan's products (one) and cap balances (one each)."""
    if plan is None:
        return []
    commands: list[Command] = []
    if plan.product_ids:
        commands.append(("MGET", *map(keys.product, plan.product_ids)))
    commands.extend(("HGET", keys.cap(offer), "left") for offer in plan.capped_ids)
    return commands


def _counts(live: Live | None, now_ms: int) -> tuple[int, int]:
    """From when on the plan counts that does at that moment, and when another begins to."""
    then = live.then if live is not None else None
    if then is None:
        return 0, sys.maxsize
    return (0, then.from_ms) if now_ms < then.from_ms else (then.from_ms, sys.maxsize)


def understood(decode: Callable[[bytes], Value], data: bytes | None) -> Value | None:
    """What the bytes mean; None for no bytes and for bytes that mean nothing to this release."""
    if data is None:
        return None
    try:
        return decode(data)
    except UNREADABLE:
        return None
