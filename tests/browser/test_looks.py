"""Every page: free of faults that axe-core knows in light and dark, never too wide for a phone, without an error."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from campaigns import goals, rollout, segments
from campaigns.gate import Evidence, weighed
from campaigns.models.learning import ModelDrift, ModelVerdict
from campaigns.rollout import Step
from signals.products import take_products
from tests.browser.visitor import Scheme, Visits
from tests.campaigns.enlisting import enlisted, measured
from tests.campaigns.shop import MANAGER
from tests.promises.reader import APPLE, BROWSER, GMAIL, SCANNER, fetch, fetch_at_once
from tests.promises.world import Story, World

AGENTS = (BROWSER, GMAIL, APPLE, SCANNER)
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
FIRST = "SELECT min(id) FROM delivery WHERE campaign_id = :c"
LONG = "A campaign whose name goes on and on because somebody put the whole brief into it, with all its dates"
TOUCHED = """() => [...document.querySelectorAll(".page-header .btn")].flatMap(button => {
    const above = button.getBoundingClientRect();
    return [...document.querySelectorAll(".page-header p")].filter(words => {
        const box = words.getBoundingClientRect();
        return box.height && box.top >= above.bottom && box.top < above.bottom + 4 && box.left < above.right;
    }).map(words => words.textContent);
})"""
"""Sentences of a page's head that begin less than four pixels below a button."""


@dataclass(frozen=True)
class Scene:
    """What the pages are about."""

    story: Story
    draft: int
    profile: int
    decision: str
    model: str
    segment: int


@pytest.fixture(scope="module")
def scene(visits: Visits) -> Scene:
    """A campaign with results, a draft with a long name, one customer, one open, one mail of unknown outcome."""
    world = visits.life.world
    looks: dict[str, Any] = {
        "discount": {"fields": {"headline": "New running shoes, 10 % off", "body": "Your next pair is waiting."}},
        "thanks": {"fields": {"headline": "Thank you", "body": "Enjoy your new shoes."}},
        "attire": {"fields": {"headline": "Running tights", "body": "They go with your shoes."}},
    }
    products: list[dict[str, Any]] = [
        {"id": "shoe-1", "title": "Trail shoe", "price": "79.50 EUR", "product_type": "Running Shoes", "quantity": 12},
        {
            "id": "shoe-2",
            "title": LONG,
            "price": "1280 JPY",
            "product_type": "Medicine",
            "availability": "out_of_stock",
        },
        {"id": "shoe-3", "title": "No price"},
    ]
    assert take_products(world.shop.intake, world.shop.source, products, world.clock.now()).refused == 1
    story = world.story("spring", people=40, slots=2, content_holdout=0.1, **looks)
    with world.sessions.begin() as session:
        session.execute(
            world.sql("UPDATE campaign SET name = 'Running shoes, spring' WHERE id = :id"), {"id": story.campaign}
        )
        goals.name_goal(session, story.campaign, "revenue", 14, world.clock.now() - timedelta(days=1), MANAGER)
    for number, name in enumerate(story.names):
        mail = story.mail(name)
        fetch_at_once(world.render.url, list(mail.pictures.values()), AGENTS[number % 4])
        if number % 4 == 0:
            world.tell(world.buy(name))
            world.clock.advance(timedelta(minutes=3))
            fetch_at_once(world.render.url, list(mail.pictures.values()))
        if number % 6 == 1:
            fetch(world.render.url, mail.clicks[0])
        world.clock.advance(timedelta(minutes=1))
    world.recorded()
    draft = world.story("longname", people=2, send=False, mode="model").campaign
    model = on_trial(world, draft)
    with world.sessions.begin() as session:
        session.execute(world.sql("UPDATE campaign SET name = :name WHERE id = :id"), {"name": LONG, "id": draft})
        session.execute(
            world.sql(
                "UPDATE delivery SET state = 'unknown' WHERE id = (SELECT min(id) FROM delivery WHERE campaign_id = :c)"
            ),
            {"c": story.campaign},
        )
    swapped = "SELECT id, profile_id FROM decision WHERE campaign_id = :c AND slots <> shadow ORDER BY at LIMIT 1"
    (row,) = world.rows(swapped, c=story.campaign)
    with world.sessions.begin() as session:
        segment = segments.create_segment(session, LONG, {"always": True}, world.clock.now(), MANAGER).id
    return Scene(story, draft, row.profile_id, row.id, model, segment)


def on_trial(world: World, campaign: int) -> str:
    """Have one model live in a campaign and another on trial; the first."""
    shop = world.shop
    live, trial = enlisted(shop, {1: 0.9}, metrics=measured()), enlisted(shop, {2: 0.9}, metrics=measured())
    steps = (
        Step("live", live, reason="The first model: there is nothing to measure it beside."),
        Step("shadow", trial, reason="Trained on the spring's orders too."),
        Step("canary", trial, 0.2),
    )
    for step in steps:
        with shop.sessions.begin() as session:
            rollout.take(session, shop.store, shop.blobs, campaign, step, shop.now, MANAGER)
    by_lot = Evidence(
        method="canary", new=131.0, present=104.0, difference=27.0, low=3.0, high=51.0, opened=2890, orders=214,
        effective=580.0,
    )  # fmt: skip
    by_logs = Evidence(method="logs", opened=4122, orders=301, refused="every choice of the log was certain")
    document = msgspec.to_builtins(weighed([by_lot, by_logs]))
    with shop.sessions.begin() as session:
        found = {"campaign_id": campaign, "model_hash": trial, "against": live, "at": shop.now}
        session.add(ModelVerdict(passes=True, document=document, **found))
        drift = {
            "limit": 0.2, "score": 0.03, "features": [["category.days_since", 0.24], ["orders.count_28", 0.05]],
            "ratio": 0.94, "ratio_low": 0.85, "ratio_high": 1.03, "gap": 0.0, "is_alarm": True,
            "why": "Days since the category was last bought have moved.",
        }  # fmt: skip
        session.add(ModelDrift(at=shop.now, model_hash=live, document=drift))
    return live


def pages(scene: Scene) -> dict[str, list[tuple[str, str]]]:
    """Every page by who may see it: its name and address."""
    campaign, draft, person = (
        f"/campaigns/{scene.story.campaign}",
        f"/campaigns/{scene.draft}",
        f"/customers/{scene.profile}",
    )
    return {
        "": [("sign-in", "/sign-in")],
        "manager": [
            ("home", "/"), ("campaigns", "/campaigns/"), ("no-campaign", "/campaigns/?q=nothing"),
            ("new-campaign", "/campaigns/new"), ("audience", f"{draft}/audience"), ("message", f"{campaign}/message"),
            ("offers-of", f"{campaign}/offers"), ("schedule", f"{draft}/schedule"), ("sent", f"{campaign}/schedule"),
            ("results", f"{campaign}/results"), ("no-results", f"{draft}/results"),
            ("unknown", f"{campaign}/ledger?state=unknown"), ("preview", f"{campaign}/preview?bought=shoes"),
            ("offers", "/offers/"), ("offer", f"/offers/{scene.story.discount}"), ("new-offer", "/offers/new"),
            ("takers", f"/offers/{scene.story.discount}/takers"),
            ("creatives", "/creatives/"), ("creative", "/creatives/1"),
            ("gallery", "/creatives/gallery?family=neutral"), ("pictures", "/pictures/"),
            ("matrix", f"{campaign}/matrix/"),
            ("explorer", f"{campaign}/explore?bought=shoes&customer={scene.profile}"),
            ("explorer-scored", f"{draft}/explore?customer={scene.profile}"), ("people", "/scores/"),
            ("products", "/products/"), ("product", "/products/shoe-1"), ("feeds", "/product-feeds"),
            ("segments", "/segments/"), ("new-segment", "/segments/new"),
            ("segment", f"/segments/{scene.segment}"), ("members-numbered", f"/segments/{scene.segment}/members"),
            ("relations", "/relations/"), ("models", "/models/"),
            ("model", f"/models/{scene.model}"), ("rollout", f"/models{draft}"),
            ("not-found", "/nowhere"),
        ],
        "support": [
            ("find", "/customers/"), ("customer", person),
            ("no-clicks", f"{person}?kind=click"), ("open", f"{person}/opens/{scene.decision}"),
            ("next-offer", f"{person}/offer?campaign={scene.story.campaign}"),
            ("next-offer-scored", f"{person}/offer?campaign={scene.draft}"),
            ("household", f"{person}/household"), ("segments-of-support", "/segments/"),
            ("members", f"/segments/{scene.segment}/members"),
            ("stream", "/stream/"), ("refused", "/campaigns/"),
        ],
        "admin": [
            ("ledger", f"{campaign}/ledger"), ("system", "/system/"), ("keys", "/system/keys"),
            ("addresses", "/system/addresses"), ("sources", "/system/sources"), ("kept", "/system/kept"),
            ("sending", "/system/send-limits/"), ("tracking-plan", "/system/tracking-plan/"),
            ("shops", "/system/shops/"),
        ],
    }  # fmt: skip


def test_it_has_no_barriers(visits: Visits, scene: Scene) -> None:
    wrong: list[object] = []
    for role, listed in pages(scene).items():
        with visits.visit(role, strict=False) as visitor:
            for name, path in listed:
                visitor.go(path)
                for scheme in SCHEMES:
                    visitor.sees_in(scheme)
                    assert visitor.page.locator(f"html[data-bs-theme={scheme}]").count() == 1
                    wrong += [(name, scheme, fault) for fault in visitor.faults()]
                    visitor.keep(f"{name}-{scheme}")
    assert not wrong


def test_it_fits_a_phone_and_runs_under_its_own_policy_without_an_error(visits: Visits, scene: Scene) -> None:
    for role, listed in pages(scene).items():
        with visits.visit(role, phone=True) as visitor:
            for name, path in listed:
                visitor.go(path)
                assert visitor.overflow() <= 0, f"{name} is {visitor.overflow()} px too wide"
                assert visitor.page.evaluate(TOUCHED) == [], f"{name}: nothing sticks to a button above it"
                visitor.keep(f"{name}-phone")
                expected = name in ("not-found", "refused")
                assert bool(visitor.troubles) == expected, (name, visitor.troubles)
                visitor.troubles.clear()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_has_no_barriers_for_the_readers_of_a_mail(visits: Visits, scene: Scene, scheme: Scheme) -> None:
    mail, render = scene.story.mail(), visits.life.world.render.url
    readers = {"unsubscribe": mail.unsubscribe, "no-link": f"/view/{'A' * 54}"}
    with visits.visit(scheme=scheme, phone=True, strict=False) as reader:
        for name, path in readers.items():
            reader.page.goto(render + path)
            assert reader.overflow() <= 0, name
            assert reader.faults() == [], name
            reader.keep(f"{name}-{scheme}")


def test_it_opens_its_menu_on_a_phone(visits: Visits) -> None:
    with visits.visit("manager", phone=True) as mara:
        mara.go("/")
        assert not mara.page.get_by_role("link", name="Offers").is_visible()
        mara.press("Menu")
        mara.page.get_by_role("link", name="Offers").wait_for()
        mara.follow("Offers")
        assert mara.page.url.endswith("/offers/")
