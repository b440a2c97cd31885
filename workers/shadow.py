"""The send-time shadow: what an open would have shown, had it been decided on what was known when the mail left.

Same plan, same seed, same model, same kind of fetch: only the person's facts, the products' facts and the time differ.
Computed after the open from stored facts, so it costs an open nothing; `decision.shadow` holds the outcome by slot.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, TypeVar

import msgspec
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from base.blobs import FolderBlobs
from base.errors import LatebindError
from base.ids import Delivery
from base.logs import logger
from campaigns import sentfacts
from campaigns.opens import Decision
from render.decide import decide
from render.facts import Facts, Used, decode_used, locale_of
from render.model import Model
from render.plan import Plan, decode
from render.relations import Relations
from signals.moments import unix_ms
from signals.productfacts import ProductFacts
from signals.state import decode as decode_state

KEPT: Final = 64
_product: Final = msgspec.msgpack.Decoder(ProductFacts).decode
Thing = TypeVar("Thing")


class RecordedOpen(msgspec.Struct, kw_only=True):
    """What a shadow needs of a decision's canonical form. `sent_ms` is when the open took the mail to have left."""

    seed: int
    sent_ms: int = 0
    undecided: bool = False
    neutral: bool = False
    relations: str | None = None


class Shadows:
    """Computes shadows; keeps the plans and models it met."""

    def __init__(self, blobs: FolderBlobs, wrapping_key: bytes) -> None:
        self._blobs = blobs
        self._wrapping_key = wrapping_key
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._models: OrderedDict[str, Model] = OrderedDict()
        self._relations: OrderedDict[str, Relations] = OrderedDict()

    def compute(self, session: Session, decisions: Sequence[tuple[str, datetime]]) -> int:
        """Fill in the shadows of these decisions (id and moment) in the caller's transaction; returns how many.

        Left out are opens of the content holdout, and those whose send left no facts.
        """
        done = 0
        rows = session.execute(
            select(
                Decision.id, Decision.at, Decision.profile_id, Decision.campaign_id, Decision.occurrence,
                Decision.plan_hash, Decision.model_hash, Decision.public,
            ).where(Decision.id.in_([number for number, _ in decisions]), Decision.shadow.is_(None))
        ).all()  # fmt: skip
        for row in rows:
            opened = msgspec.json.decode(row.public, type=RecordedOpen)
            if opened.neutral or row.profile_id is None:
                continue
            delivery = Delivery(row.profile_id, row.campaign_id, row.occurrence)
            try:
                shadow = self._shadow(session, delivery, row.plan_hash, row.model_hash, opened)
            except (LatebindError, msgspec.MsgspecError) as error:
                logger(__name__).warning("shadow not computed", decision=row.id, reason=str(error))
                continue
            if shadow is None:
                continue
            session.execute(update(Decision).where(Decision.id == row.id, Decision.at == row.at).values(shadow=shadow))
            done += 1
        return done

    def _shadow(
        self, session: Session, delivery: Delivery, plan_hash: str, model_hash: str | None, opened: RecordedOpen
    ) -> dict[str, int] | None:
        kept = sentfacts.read(session, self._blobs, delivery, self._wrapping_key)
        if kept is None:
            return None
        person, shared, sent_at = kept
        state = decode_state(person.state) if person.state is not None else None
        facts = Facts(
            state=state,
            sent_at_ms=opened.sent_ms or unix_ms(sent_at),
            used=decode_used(person.used) if person.used else Used(),
            products={name: _product(data) for name, data in shared.products.items()},
            caps=shared.caps,
            model=self._model(model_hash),
            undecided=opened.undecided,
            locale=locale_of(state),
            relations=self._known(opened.relations),
        )
        decision = decide(self._plan(plan_hash).shown_to(delivery.profile), facts, sent_at, opened.seed)
        return {str(slot.slot): slot.offer for slot in decision.slots}

    def _plan(self, digest: str) -> Plan:
        return _remembered(self._plans, digest, lambda: decode(self._blobs.get(digest)))

    def _model(self, digest: str | None) -> Model | None:
        return (
            None if digest is None else _remembered(self._models, digest, lambda: Model.load(self._blobs.get(digest)))
        )

    def _known(self, digest: str | None) -> Relations | None:
        if digest is None:
            return None
        return _remembered(self._relations, digest, lambda: Relations.load(self._blobs.get(digest)))


def _remembered(kept: OrderedDict[str, Thing], digest: str, make: Callable[[], Thing]) -> Thing:
    if digest not in kept:
        kept[digest] = make()
        if len(kept) > KEPT:
            kept.popitem(last=False)
    return kept[digest]
