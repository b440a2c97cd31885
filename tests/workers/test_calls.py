"""The next best offer in a call or a chat: what the endpoint decides at that instant, and what is told of it, once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import msgspec
import pytest

from base import keys
from base.tokens import TokenKeys
from campaigns import rollout
from campaigns.audit import PublicDecision
from campaigns.campaigns import SlotChoice
from campaigns.rollout import Step
from render.arbitration import Fatigue
from render.contact import mint_profile
from render.parts import Parts
from tests.campaigns.enlisting import enlisted
from tests.campaigns.shop import MANAGER
from tests.campaigns.web import Web
from tests.workers.opens import Opens

HIDDEN = re.compile(r'type="hidden" name="(campaign|channel|contact|slot|offer)" value="([^"]+)"')
TIRES = [Fatigue(after="refused", times=1, within_days=30, off_days=30)]


@dataclass
class Desk:
    """An agent's pages and programs, a customer, and a campaign of two places: shoes until bought, thanks after."""

    opens: Opens
    web: Web
    name: str = ""
    person: int = 0
    campaign: int = 0
    discount: int = 0
    other: int = 0
    default: int = 0

    def publish(self, mode: Any = "rules", places: int = 1, **discount: Any) -> None:
        shop = self.opens.shop
        shop.intake.categories.learn(["Shoes"], create=True)
        self.call("ann")
        self.default = shop.offer("neutral", name="Default")
        texts = {"fields": {"headline": "New shoes, 10 % off", "body": "Your next pair is waiting."}}
        self.discount = shop.offer(
            "replacement", name="Shoes", purpose_category="shoes", priority=3, cap_total=5, value_cents=900,
            **(texts | discount),
        )  # fmt: skip
        thanks = shop.offer("thank-you", name="Thanks", after_category="shoes", priority=2, value_cents=100)
        self.other = shop.offer("cross-sell", name="Socks", priority=1, value_cents=300)
        offers = [self.discount, thanks, self.other]
        slots = [
            SlotChoice(slot=n, default=self.default, offers=offers if n < places else [], mode=mode) for n in (0, 1)
        ]
        self.campaign = shop.campaign(slots=slots)
        if mode == "model":
            self.score()

    def call(self, name: str) -> None:
        """Somebody else calls."""
        self.name = name
        (self.person,) = self.opens.shop.people(name)

    def score(self) -> None:
        """Have a model decide, which the endpoint has loaded."""
        shop = self.opens.shop
        model = enlisted(shop, {1: 0.9})
        step = Step("live", model, reason="The first model: there is nothing to measure it beside.")
        with shop.sessions.begin() as session:
            rollout.take(session, shop.store, shop.blobs, self.campaign, step, shop.now, MANAGER)
        parts: Parts = self.opens.client.application.extensions["parts"]
        assert parts.models.load(model)

    def advised(self, request: str = "") -> Any:
        """What an agent's program is told, place by place."""
        asked = f"/customers/{self.person}/offer?campaign={self.campaign}"
        return self.web.program("support").told("GET", asked + (f"&request={request}" if request else ""))["places"]

    def told(self, **said: Any) -> Any:
        """An agent's program tells what was said to the discount."""
        body = {"campaign": self.campaign, "request": "r", "slot": 0, "offer": self.discount, "outcome": "taken"} | said
        return self.web.program("support").call("POST", f"/customers/{self.person}/offer", body)

    def decided(self, request: str, place: str = "hero") -> Any:
        """What `/v1/decide` answers a server in a contact."""
        self.opens.forget()
        contact = {
            "campaign": self.campaign, "channel": "call", "placement": place, "request": request,
            "profile": mint_profile(TokenKeys.from_settings(self.opens.shop.settings), self.person),
        }  # fmt: skip
        headers = {"Authorization": f"Bearer {self.web.program('support').key}"}
        answer = self.opens.client.post("/v1/decide", json=contact, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.get_json()["slots"][0]

    def left(self) -> bytes | None:
        """How many showings of the discount are left."""
        return cast("bytes | None", self.opens.shop.store.hget(keys.cap(self.discount), "left"))


@pytest.fixture
def desk(opens: Opens) -> Iterator[Desk]:
    web = Web(opens.shop)
    yield Desk(opens, web)
    web.close()


def buy(desk: Desk) -> None:
    desk.opens.shop.send(desk.opens.shop.order(desk.name, "shoes", desk.opens.shop.now))


INSTANTS: dict[str, Callable[[Desk], object]] = {
    "as it is": lambda desk: None,
    "just bought": buy,
    "tracking withdrawn": lambda desk: desk.opens.shop.send(desk.opens.shop.consent(desk.name, False, "tracking")),
    "state lost": lambda desk: desk.opens.shop.store.delete(keys.state(desk.person)),
    "used up": lambda desk: desk.opens.shop.store.hset(keys.cap(desk.discount), "left", 0),
}


@pytest.mark.feature("SU-18")
@pytest.mark.parametrize("mode", ["rules", "model"])
def test_it_tells_the_agent_what_the_endpoint_decides_at_the_same_instant(desk: Desk, mode: Any) -> None:
    desk.publish(mode, places=2)
    scored = []
    for number, (instant, change) in enumerate(INSTANTS.items()):
        desk.call(f"caller{number}")
        change(desk)
        told = desk.advised()
        assert [place["place"] for place in told] == ["hero", "strip"]
        for place in told:
            chosen = desk.decided("other", place["place"])
            assert chosen["offer"] == (place["offer"] or desk.default), instant
            texts = [chosen["fields"].get(f"offer.{name}") for name in ("headline", "body")]
            assert place["texts"] == [text for text in texts if text]
        desk.opens.record()
        query = "SELECT contact, public FROM decision WHERE profile_id = :p"
        made_of = {row.contact: row.public for row in desk.opens.rows(query, p=desk.person)}
        assert bool(made_of) == (instant != "tracking withdrawn")
        for place in told if made_of else ():
            public = msgspec.json.decode(made_of[f"call/{place['place']}/other"], type=PublicDecision)
            chances = {one.offer: one.probability for one in public.slots[place["slot"]].candidates}
            assert chances.get(place["offer"]) == place["chance"], instant
        scored += [instant for place in told if place["chance"] is not None]
    assert set(scored) == ({"as it is", "just bought", "used up"} if mode == "model" else set())


@pytest.mark.feature("SU-18")
def test_it_counts_what_was_said_towards_caps_rests_and_learning(desk: Desk) -> None:
    desk.publish(fatigue=TIRES)
    support, opens = desk.web.browser("support"), desk.opens
    page = support.get(f"/customers/{desk.person}/offer?campaign={desk.campaign}").text
    assert "You can say" in page
    assert "Your next pair is waiting." in page, page[page.index("You can say") :][:900]
    form = dict(HIDDEN.findall(page))
    assert (form["offer"], desk.left()) == (str(desk.discount), b"5"), "looking uses nothing up"
    answer = support.post(f"/customers/{desk.person}/offer", outcome="refused", **form)
    assert answer.status_code == 302, answer.text
    kept = support.get(answer.location).text
    assert "They refused it." in kept
    assert 'value="taken"' not in kept, "one answer to one showing"
    assert desk.left() == b"4"
    opens.record()
    (row,) = opens.rows(
        "SELECT c.outcome, c.offer_id, c.fetch_class, d.contact, d.profile_id FROM click c JOIN decision d"
        " ON d.id = c.decision_id AND d.at = c.decision_at"
    )
    assert (row.outcome, row.offer_id, row.fetch_class) == ("refused", desk.discount, "person")
    assert (row.contact, row.profile_id) == (f"call/hero/{form['contact']}", desk.person)
    # In the next call, whoever asks, it rests.
    opens.shop.clock.advance(timedelta(minutes=1))
    (place,) = desk.advised()
    assert place["offer"] == desk.other == desk.decided("next")["offer"]
    assert any("refused" in sentence for sentence in place["others"])
    logged = opens.rows("SELECT after FROM admin_log WHERE action = 'tell outcome'")
    assert [one.after["outcome"] for one in logged] == ["refused"]
    looks = opens.rows("SELECT profile_id FROM access_log WHERE action = 'next offer'")
    assert [one.profile_id for one in looks] == [desk.person] * 3


@pytest.mark.feature("SU-18")
def test_it_keeps_nothing_of_an_offer_that_was_not_the_one_read_out(desk: Desk) -> None:
    desk.publish()
    assert [place["offer"] for place in desk.advised("r")] == [desk.discount]
    buy(desk)
    late = desk.told()
    assert late.status_code == 409
    assert "By now the offer is “Thanks”" in late.json["detail"]
    desk.opens.record()
    assert (desk.opens.count("click"), desk.opens.count("decision")) == (0, 0)
    (now,) = desk.advised("r")
    told = [desk.told(offer=now["offer"]).json for _ in range(2)]
    assert [one["repeated"] for one in told] == [False, True]
    assert desk.told(offer=now["offer"], outcome="refused").status_code == 409
    assert desk.advised("r")[0]["said"] == "taken"


@pytest.mark.feature("SU-18")
@pytest.mark.parametrize("since", ["signal", "hold over", "purchase"])
def test_it_keeps_an_answer_once_whatever_came_between(desk: Desk, since: str) -> None:
    desk.publish(fatigue=TIRES)
    first = desk.told(outcome="refused").json
    if since == "purchase":
        buy(desk)
    elif since == "hold over":
        desk.opens.shop.clock.advance(timedelta(hours=2))
    else:
        desk.opens.shop.send(desk.opens.shop.order(desk.name, "socks", desk.opens.shop.now))
    assert desk.told(outcome="refused").json == first | {"repeated": True}
    assert desk.told(outcome="taken").status_code == 409
    desk.opens.record()
    assert (desk.opens.count("click"), desk.opens.count("decision"), desk.left()) == (1, 1, b"4")
    logged = desk.opens.rows("SELECT after FROM admin_log WHERE action = 'tell outcome' ORDER BY id")
    assert [one.after["repeated"] for one in logged] == [False, True]


WRONG: list[tuple[int, dict[str, Any]]] = [
    (400, {"slot": 7}), (400, {"slot": 1}), (400, {"outcome": "perhaps"}), (400, {"request": "with space"}),
    (400, {"channel": "fax"}), (404, {"campaign": 999_999}), (409, {"offer": 999_999}),
]  # fmt: skip


def test_it_says_what_is_wrong_and_where_nothing_is_offered(desk: Desk) -> None:
    desk.call("ann")
    support, path = desk.web.browser("support"), f"/customers/{desk.person}/offer"
    assert "Nothing to offer yet" in support.get(path).text
    desk.publish()
    for status, changes in WRONG:
        answer = desk.told(**changes)
        assert answer.status_code == status, answer.text
    assert support.post(path, campaign=desk.campaign, outcome="perhaps").status_code == 400
    odd = {"campaign": desk.campaign, "contact": "zzz<>", "slot": 0, "offer": desk.discount, "outcome": "taken"}
    assert support.post(path, **odd).status_code == 400
    assert "You can say" in support.get(f"{path}?contact=zzz<>&channel=fax").text
    assert desk.left() == b"5"
    default = desk.opens.shop.offer("neutral")
    desk.opens.shop.campaign(slots=[SlotChoice(slot=n, default=default) for n in (0, 1)])
    assert "This campaign offers nothing" in support.get(path).text
    assert support.get("/customers/999999/offer").status_code == 404
