"""Previews and replays: what is decided and drawn ahead or again is what the endpoint's own functions make."""

from __future__ import annotations

import io
from datetime import timedelta

import msgspec
import pytest
from msgspec.structs import replace
from PIL import Image

from base.errors import InvalidInput
from render.binding import resolve
from render.decide import decide
from render.decision import Decision
from render.draw import draw
from render.facts import Facts, LastDecision, Used, encode_last, encode_used
from render.fonts import Fonts
from render.plan import Live, Plan
from render.preview import Preview, preview
from render.record import CandidateRecord, DecisionFacts, DecisionRecord, SlotRecord
from render.replay import facts_of, replay, same_outcome
from signals.foldevent import FoldEvent
from signals.state import encode
from tests.render import shoe_shop as shop

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def fonts() -> Fonts:
    return Fonts.load()


def previewed(plan: Plan, fonts: Fonts, *extra: FoldEvent, **changes: object) -> Preview:
    facts = shop.facts(shop.state(), **changes)
    return preview(
        plan,
        facts.state,
        facts.used,
        facts.products,
        None,
        shop.NOON,
        1,
        extra,
        sent_at_ms=shop.SENT_MS,
        fonts=fonts,
    )


def test_it_previews_what_an_open_with_these_signals_would_show_byte_for_byte(fonts: Fonts) -> None:
    plan = shop.plan(slots=2)
    purchase = shop.bought(shop.SHOES, shop.NOON - HOUR)
    ahead = previewed(plan, fonts, purchase)
    served = decide(plan, shop.facts(shop.state([purchase])), shop.NOON, 1)
    assert ahead.decision == served
    assert [plan.offer_by_id[offer].name for offer in served.offers] == ["thanks", "tights"]
    for slot in served.slots:
        resolved = resolve(plan.creative_by_id[slot.creative], slot.fields, plan.locale, plan.currency)
        planned = plan.slot_by_index[slot.slot]
        drawn = draw(resolved, {}, (planned.width, planned.height), planned.fmt, False, fonts, planned.max_bytes)
        assert ahead.pictures[slot.slot] == drawn


def test_it_draws_the_declared_size_twice_as_dense(fonts: Fonts) -> None:
    ahead = previewed(shop.plan(), fonts)
    assert Image.open(io.BytesIO(ahead.pictures[0])).size == (1200, 400)


def test_it_previews_the_default_of_whoever_is_not_known(fonts: Fonts) -> None:
    plan = shop.plan()
    ahead = preview(plan, None, Used(), {}, None, shop.NOON, 1, sent_at_ms=shop.SENT_MS, fonts=fonts)
    assert ahead.decision.reason == "no state"
    assert set(ahead.pictures) == {0}


def test_it_takes_caps_as_untouched_before_a_plan_was_published(fonts: Fonts) -> None:
    ahead = previewed(shop.plan(discount={"cap_total": 5}), fonts)
    assert ahead.decision.offers == (shop.DISCOUNT,)
    assert ahead.decision.lost == ()


def test_it_refuses_to_suppose_what_corrects_the_past(fonts: Fonts) -> None:
    with pytest.raises(InvalidInput) as caught:
        previewed(shop.plan(), fonts, shop.returned("o1", shop.NOON))
    assert caught.value.field == "extra_events"


def recorded(plan: Plan, facts: Facts, decision: Decision) -> DecisionRecord:
    """The record of a decision as the endpoint writes it down."""
    assert facts.state is not None
    return DecisionRecord(
        id="0" * 32,
        at_ms=shop.NOON_MS,
        profile=5,
        campaign=7,
        occurrence=1,
        lane=facts.lane,
        open_number=1,
        plan="",
        model=decision.model_hash,
        seed=decision.seed,
        state_version=facts.state.version,
        slots=tuple(
            SlotRecord(
                slot.slot,
                slot.offer,
                slot.creative,
                slot.propensity,
                tuple(
                    CandidateRecord(one.offer, one.removed_by, one.rule, one.probability, one.value)
                    for one in slot.candidates
                ),
            )
            for slot in decision.slots
        ),
        products={name: msgspec.msgpack.encode(product) for name, product in facts.products.items()},
        caps=tuple(sorted(facts.caps.items())),
        refused=tuple(sorted(facts.refused)),
        rung=decision.rung,
        features=decision.features,
        sent_ms=facts.sent_at_ms,
        undecided=facts.undecided,
        neutral=facts.neutral,
        live_state=facts.live.state,
        withdrawn=facts.live.withdrawn,
        personal=DecisionFacts(
            encode(facts.state),
            encode_used(facts.used),
            encode_last(facts.last) if facts.last is not None else None,
            tuple(slot.fields for slot in decision.slots),
        ),
    )


def opened(**changes: object) -> tuple[Plan, Facts, DecisionRecord]:
    plan = shop.plan(slots=2, discount={"cap_total": 3, "no_repeat_days": 2})
    facts = shop.facts(
        shop.state([shop.bought(shop.SHOES, shop.NOON - HOUR)]),
        used=Used().reserved([(shop.DISCOUNT, "shoes")], shop.NOON_MS - 5),
        caps={shop.DISCOUNT: 2},
        last=LastDecision("d", 1, shop.NOON_MS - 5, {0: shop.DISCOUNT}),
        **changes,
    )
    decision = decide(plan, facts, shop.NOON, seed=4)
    return plan, facts, recorded(plan, facts, decision)


@pytest.mark.parametrize(
    "changes",
    [{}, {"lane": "machine"}, {"undecided": True}, {"neutral": True}, {"live": Live(withdrawn=(shop.THANKS,))}],
    ids=str,
)
def test_it_replays_a_record_to_the_very_same_outcome(changes: dict[str, object]) -> None:
    plan, facts, record = opened(**changes)
    assert facts_of(record, None) == facts
    assert same_outcome(replay(record, plan, None), record)


def test_it_previews_and_replays_in_the_locale_of_the_person(fonts: Fonts) -> None:
    plan = shop.plan(discount={"ends_ms": 1}, tights={"shows_price": True})
    german = replace(shop.state(), traits={"locale": "de-DE"})
    facts = shop.facts(german, locale="de-DE")
    decision = decide(plan, facts, shop.NOON, 1)
    assert decision.slots[0].fields["product.price"] == "49,99\u00a0$"
    assert same_outcome(replay(recorded(plan, facts, decision), plan, None), recorded(plan, facts, decision))
    ahead = preview(plan, german, Used(), facts.products, None, shop.NOON, 1, sent_at_ms=shop.SENT_MS, fonts=fonts)
    assert ahead.decision == decision


@pytest.mark.feature("SU-03")
def test_it_comes_out_otherwise_without_the_cause_and_the_same_without_anything_else() -> None:
    plan, _, record = opened()
    unbought = replay(record, plan, None, state=shop.state())
    assert not same_outcome(unbought, record)
    assert unbought.slots[0].offer == shop.DISCOUNT
    assert replay(record, plan, None, products={"tights-1": shop.product(stock=99)}).offers == (
        shop.THANKS,
        shop.TIGHTS,
    )


def test_it_refuses_to_replay_with_another_model() -> None:
    plan, _, record = opened()
    with pytest.raises(InvalidInput) as caught:
        replay(replace(record, model="ab" * 32), plan, None)
    assert caught.value.field == "model"


def test_it_names_facts_that_cannot_be_read() -> None:
    plan, _, record = opened()
    broken = replace(record, personal=replace(record.personal, used=b"\xc1"))
    with pytest.raises(InvalidInput) as caught:
        replay(broken, plan, None)
    assert caught.value.field == "record"
