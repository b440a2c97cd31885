"""What a signal changed, in words: on its page, and for every field of a state."""

from __future__ import annotations

from datetime import timedelta

from campaigns import changewords
from signals.state import Answer, CategoryStats, ProfileState, Review, Views, document
from tests.campaigns.shop import Shop
from tests.campaigns.web import Web


def test_it_tells_what_a_signal_changed_in_words(shop: Shop, web: Web) -> None:
    (ann,) = shop.people("ann")
    shop.clock.advance(timedelta(days=40))
    shop.intake.categories.learn(["Running shoes"], create=True)
    order = shop.order("ann", "running-shoes", shop.now)
    order["properties"]["currency"] = "CHF"
    shop.send(
        order,
        {"type": "track", "userId": "ann", "event": "Complaint Opened", "properties": {"complaint_id": "c 7"}},
        {"type": "track", "userId": "ann", "event": "Product Registered", "properties": {"category": "running-shoes"}},
        {"type": "track", "userId": "ann", "event": "Offer Feedback",
         "properties": {"feedback": "gift", "product_id": "shoes-1"}},
    )  # fmt: skip
    program = web.program("admin")
    numbers = {one["name"]: one["number"] for one in program.told("GET", f"/signals?profile={ann}")["signals"]}
    pages = {name: web.desk("support").get(f"/stream/taken/{number}").text for name, number in numbers.items()}
    for name, words in (
        (
            "Order Completed",
            ["Orders of Running shoes", "Spent on Running shoes", "CHF", "20.00", "11 Apr 2026", "shoes-1"],
        ),
        ("Complaint Opened", ["Complaint c 7 open since", "11 Apr 2026, 12:00"]),
        ("Product Registered", ["Registered: Running shoes", "11 Apr 2026"]),
        ("Offer Feedback", ["Corrections", "gift: shoes-1"]),
        ("Consent Changed", ["May be used for mail", "yes"]),
    ):
        told = pages[name].partition("What it changed")[2].partition("</table>")[0]
        for word in words:
            assert word in told, (name, word)
        for inside in ("categories", "days", "[", "_s", "last_ms", "cents"):
            assert inside not in told, (name, inside)


def test_it_has_words_for_each_field_of_a_state_or_says_that_it_is_silent() -> None:
    state = ProfileState(
        categories={1: CategoryStats(1, 1, 1)}, views={1: Views(1, 1)}, reviews={1: Review("positive", 1)},
        surveys={"nps": Answer(9, 1)},
    )  # fmt: skip
    nested = {"categories", "views", "reviews", "surveys"}
    plain = document(state)
    fields = {name for name in plain if name not in nested}
    fields |= {f"{name}.{field}" for name in nested for entry in plain[name].values() for field in entry}
    assert fields == set(changewords.WORDS) | changewords.SILENT
    assert not set(changewords.WORDS) & changewords.SILENT
