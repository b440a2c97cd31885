"""Two small tales with hand-made people, told literally: running shoes, and the gate on the stairs.

What a mail shows is told from outside, by where its picture's link leads: a click goes to the offer seen last.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from base.errors import StartError
from campaigns import starting
from campaigns.campaigns import CampaignIn, SlotChoice
from campaigns.offers import OfferIn
from render.plan import Kind
from render.starting import HERO
from workers.demo import people
from workers.demo.claims import Claims
from workers.demo.opens import Mail, MailClients, is_whole
from workers.demo.people import ATTIRE, DIAPERS, GATE, PUPPY_FOOD, SHOES, Character
from workers.demo.postbox import Postbox
from workers.demo.readers import BROWSER, THUNDERBIRD
from workers.demo.restock import SHOP, is_finished
from workers.demo.stage import Signals, Stage

SHOES_NAME: Final = "New running shoes"
GATE_NAME: Final = "New in your home"
BEFORE: Final = timedelta(days=4)
"""The tales are told in the days before the story's week."""
SEND_SECONDS: Final = 300.0


class Teller:
    """What both tales need: writing a small campaign, sending it, and looking at a mail."""

    def __init__(self, stage: Stage, postbox: Postbox, signals: Signals) -> None:
        self._stage = stage
        self._postbox = postbox
        self._signals = signals
        self._clients = MailClients(stage.settings.render_url, connections=2)
        self._creatives = {row["name"]: row["id"] for row in stage.api.get("/creatives")["creatives"]}
        self._offers = {row["name"]: row["id"] for row in stage.api.get("/offers")["offers"]}

    def close(self) -> None:
        """End the connections."""
        self._clients.close()

    def tell(self, events: list[bytes]) -> None:
        """Send signals."""
        self._signals.batch(events)

    def offer(self, name: str, kind: Kind, creative: str, landing: str, **content: Any) -> int:
        """Make an offer that leads to /`landing` of the shop."""
        made = OfferIn(
            name=name, kind=kind, creative_id=self._creatives[creative], landing=f"{SHOP}/{landing}", **content
        )
        return int(self._stage.api.post("/offers", made)["id"])

    def send(self, name: str, tale: str, subject: str, offers: list[int], wanted: int) -> dict[str, Mail]:
        """Write, publish and send a campaign with one picture; the mails by address."""
        stage, before = self._stage, self._postbox.newest()
        sender, _, address = stage.settings.from_address.partition("<")
        layout = starting.LAYOUTS[1]
        message = starting.message(layout, name, sender.strip(), address.strip(" >"), stage.settings.postal_address)
        made = stage.api.post("/messages", {**_plain(message), "subject": subject})
        content = CampaignIn(
            name=name,
            message_id=made["id"],
            audience={"field": "trait", "name": "tale", "op": "=", "value": tale},
            slots=[SlotChoice(slot=0, default=self._offers[starting.DEFAULTS[HERO][1]], offers=offers)],
            default_landing=f"{SHOP}/",
            currency="USD",
            locale="en-US",
            brand="Example Shop",
            feed_stale_s=7 * 86_400,
        )
        campaign = stage.api.post("/campaigns", content)["id"]
        stage.api.post(f"/campaigns/{campaign}/publish")
        stage.api.post(f"/campaigns/{campaign}/schedule", {"due_at": stage.now})
        stage.await_(
            f"the campaign {name!r} to be sent",
            lambda: is_finished(stage, campaign),
            seconds=SEND_SECONDS,
        )
        mails = {mail.to: mail for mail in self._postbox.since(before)}
        if len(mails) != wanted:
            raise StartError(f"The campaign {name!r} brought {len(mails)} mails where {wanted} were due.")
        return mails

    def look(self, mail: Mail) -> str:
        """Open the mail, follow its picture's link, and say where that leads, as a path of the shop."""
        for picture, future in zip(mail.pictures, self._clients.open(mail, THUNDERBIRD), strict=True):
            answer = future.result()
            if not is_whole(picture, answer):
                return f"a broken picture ({answer.status})"
        answer = self._clients.click(mail.clicks[0], BROWSER).result()
        return urlsplit(answer.location or "").path.strip("/") or "the default page"

    def wait(self, hours: float) -> None:
        """Let time go by."""
        self._stage.clock.advance(timedelta(hours=hours))


def tell_tales(stage: Stage, postbox: Postbox, signals: Signals, run: str, claims: Claims) -> None:
    """Both tales, in the days before the story's week; the clock stands at the story's begin afterwards."""
    stage.clock.set(stage.calendar.story - BEFORE)
    signals.products(people.feed())
    teller = Teller(stage, postbox, signals)
    try:
        stage.say("running shoes: Ana buys the offered shoes and returns them later, Ben buys nothing")
        running_shoes(stage, teller, run, claims)
        stage.say("the gate on the stairs: a baby, a puppy, or nobody's business?")
        baby_gate(stage, teller, run, claims)
    finally:
        teller.close()
        stage.clock.set(stage.calendar.story)


def running_shoes(stage: Stage, teller: Teller, run: str, claims: Claims) -> None:
    """Discount, purchase, thank-you, attire; returned: discount again. Who buys nothing sees the discount all along."""
    tale = "running-shoes"
    ana, ben = Character("Ana", tale, run), Character("Ben", tale, run)
    teller.tell([*ana.introduced(stage.now), *ben.introduced(stage.now)])
    shoes, attire = "running-shoes", "running-attire"
    offers = [
        teller.offer(
            "Thank you for the shoes", "thank-you", "Thank you", "thank-you", category=shoes, after_category=shoes,
            priority=30, cap_person=1, sticky=False,
            fields={"headline": "Enjoy your run", "body": "Thank you for buying your new shoes with us."},
        ),
        teller.offer(
            "Running attire", "cross-sell", "Goes well with", "attire", category=attire, product=ATTIRE.id,
            after_category=shoes, purpose_category=attire, needs_stock=True, shows_price=True, priority=20,
            fields={"eyebrow": "Goes with your new shoes"},
        ),
        teller.offer(
            "Running shoes, 20% off", "replacement", "Restock discount", "discount", category=shoes,
            product=SHOES.id, purpose_category=shoes, needs_stock=True, shows_price=True, priority=10,
            fields={"eyebrow": "This week", "percent": 20, "badge": "-20%"},
        ),
    ]  # fmt: skip
    mails = teller.send(SHOES_NAME, tale, "{{ profile.first_name }}, new running shoes?", offers, wanted=2)
    seen: list[tuple[str, str]] = []

    def both(moment: str, want_ana: str) -> None:
        found = teller.look(mails[ana.address]), teller.look(mails[ben.address])
        seen.append(found)
        stage.say(f"  {moment}: Ana sees {found[0]}, Ben sees {found[1]}")
        claims.check(
            f"running shoes: {moment}, Ana sees {want_ana} and Ben the discount", found == (want_ana, "discount")
        )

    teller.wait(1)
    both("an hour after the mail", "discount")
    teller.wait(1)
    teller.tell(ana.buys(stage.now, "shoes", SHOES))
    both("right after she bought them", "thank-you")
    teller.wait(24)
    both("a day later", "attire")
    teller.wait(24)
    teller.tell(ana.returns(stage.now, "shoes", SHOES))
    both("when she has returned them", "discount")


def baby_gate(stage: Stage, teller: Teller, run: str, claims: Claims) -> None:
    """A gate alone stays neutral; with puppy food it is a puppy, with diapers a baby; never a baby for the retired."""
    tale = "baby-gate"
    gina, paul, dana = (Character(name, tale, run) for name in ("Gina", "Paul", "Dana"))
    rita = Character("Rita", tale, run, {"age": 68})
    cast = (gina, paul, dana, rita)
    teller.tell([event for one in cast for event in one.introduced(stage.now)])
    teller.tell([event for one in cast for event in one.buys(stage.now, f"gate-{one.name}", GATE)])
    offers = [
        teller.offer(
            "For the puppy", "cross-sell", "Goes well with", "puppy", priority=20,
            relevant={"field": "intent.top", "op": "=", "value": "puppy"},
            fields={"eyebrow": "New in the home", "headline": "Everything a puppy needs"},
        ),
        teller.offer(
            "For the baby", "cross-sell", "Goes well with", "baby", priority=20,
            relevant={"field": "intent.top", "op": "=", "value": "baby"},
            fields={"eyebrow": "New in the home", "headline": "Everything a baby needs"},
        ),
    ]  # fmt: skip
    mails = teller.send(GATE_NAME, tale, "{{ profile.first_name }}, a look around the home", offers, wanted=len(cast))

    def each(moment: str, want: dict[str, str]) -> None:
        found = {one.name: teller.look(mails[one.address]) for one in cast if one.name in want}
        stage.say(f"  {moment}: " + ", ".join(f"{name} sees {what}" for name, what in found.items()))
        claims.check(f"baby gate: {moment}", found == want)

    neutral = "the default page"
    teller.wait(1)
    each("a gate alone stays neutral", {"Gina": neutral, "Paul": neutral, "Dana": neutral, "Rita": neutral})
    teller.wait(1)
    teller.tell([*paul.buys(stage.now, "food", PUPPY_FOOD), *dana.buys(stage.now, "diapers", DIAPERS)])
    each(
        "puppy food speaks for a puppy, diapers for a baby, nothing for the others",
        {"Gina": neutral, "Paul": "puppy", "Dana": "baby", "Rita": neutral},
    )


def _plain(message: Any) -> dict[str, Any]:
    return {name: getattr(message, name) for name in message.__struct_fields__}
