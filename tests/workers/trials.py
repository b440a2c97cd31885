"""Two models of opposite tastes, a campaign they may decide, and its readers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from campaigns import rollout
from campaigns.campaigns import SlotChoice
from tests.campaigns.enlisting import enlisted
from tests.campaigns.shop import MANAGER
from tests.promises.reader import Mail
from tests.workers.opens import Opens
from workers.judging import Judge


class Trials:
    """A campaign with one slot of mode model: an offer of shoes and one of attire, and a model that prefers each."""

    def __init__(self, opens: Opens, people: int, **changes: Any) -> None:
        self.opens, self.shop = opens, opens.shop
        self.shop.intake.categories.learn(["Shoes", "Attire"], create=True)
        numbers = {row.slug: row.id for row in opens.rows("SELECT slug, id FROM category")}
        shoes, attire = numbers["shoes"], numbers["attire"]
        self.likes_shoes = enlisted(self.shop, {shoes: 0.9, attire: 0.1})
        self.likes_attire = enlisted(self.shop, {shoes: 0.1, attire: 0.9})
        self.shop.people(*(f"p{number:03d}" for number in range(people)))
        self.default = self.shop.offer("neutral")
        self.shoes = self.shop.offer("replacement", category="shoes", value_cents=1000, sticky=False)
        self.attire = self.shop.offer("replacement", category="attire", value_cents=1000, sticky=False)
        hero = SlotChoice(slot=0, default=self.default, offers=[self.shoes, self.attire], mode="model")
        strip = SlotChoice(slot=1, default=self.default)
        self.mails = opens.send_campaign(slots=[hero, strip], **changes)
        self.campaign = opens.campaign
        self.judge = Judge(self.shop.sessions, self.shop.blobs, self.shop.settings.subject_key, self.shop.clock)

    def move(self, action: str, *arguments: Any, reason: str = "") -> None:
        """Take a step of a rollout, and have the models loaded that the live key names now."""
        shop = self.shop
        with shop.sessions.begin() as session:
            now = shop.now
            if action in ("to_shadow", "to_canary", "to_live", "roll_back"):
                known = (session, shop.store, shop.blobs, self.campaign, *arguments, now, MANAGER, reason)
            else:
                known = (session, shop.store, self.campaign, *arguments, now, MANAGER, reason)
            getattr(rollout, action)(*known)
        for digest in (self.likes_shoes, self.likes_attire):
            assert self.opens.client.application.extensions["parts"].models.load(digest)

    def look(self, mails: Sequence[Mail] | None = None, *, fresh: bool = True) -> list[bytes]:
        """Everybody's hero, two hours later, so that it is a new open; the pictures."""
        self.shop.clock.advance(timedelta(hours=2))
        if fresh:
            self.opens.forget()
        pictures = [self.opens.look(mail) for mail in (self.mails.values() if mails is None else mails)]
        self.opens.record()
        return pictures

    def decided(self) -> dict[int, tuple[str | None, int]]:
        """Profile -> the model and the offer of its latest open."""
        rows = self.opens.rows("SELECT profile_id, model_hash, slots FROM decision ORDER BY at, open_number")
        return {row.profile_id: (row.model_hash, row.slots["0"]) for row in rows}
