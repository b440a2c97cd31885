"""A town of people with a story each, and the diary of what really happened to them, as their own side saw it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tests.campaigns.living import Living
from tests.promises.reader import (
    APPLE,
    BROWSER,
    GMAIL,
    GMAIL_PREFETCH,
    SCANNER,
    Mail,
    fetch,
    fetch_at_once,
)
from tests.promises.world import Story, World, until

MINUTE = timedelta(minutes=1)


@dataclass
class Diary:
    """What really happened to one person, as the person's own side saw it."""

    name: str
    seek: str = ""
    mails: int = 1
    skipped: str = ""
    served: list[str] = field(default_factory=list)
    clicks: int = 0
    orders: list[str] = field(default_factory=list)
    late: int = 0


@dataclass
class Town:
    """Twenty and more people with a mail of one campaign, each with a story of their own."""

    life: Living
    story: Story
    diaries: dict[str, Diary] = field(default_factory=dict)

    @property
    def world(self) -> World:
        return self.life.world

    def mail(self, name: str) -> Mail:
        return self.story.mail(name)

    def look(self, diary: Diary, agent: str = BROWSER, *, dark: bool = False, kept: bool = True) -> None:
        """Open the mail: all its pictures at once."""
        mail = self.mail(diary.name)
        paths = list((mail.dark if dark else mail.pictures).values())
        answers = fetch_at_once(self.world.render.url, paths, agent)
        assert {answer.status for answer in answers} == {200}
        if kept:
            diary.served += [answer.sha256 for answer in answers]
        self.world.clock.advance(MINUTE)

    def view(self, diary: Diary) -> None:
        """Open the mail in a browser."""
        diary.served.append(fetch(self.world.render.url, self.mail(diary.name).view).sha256)
        self.world.clock.advance(MINUTE)

    def click(self, diary: Diary, agent: str = BROWSER) -> None:
        """Follow the hero's link."""
        assert fetch(self.world.render.url, self.mail(diary.name).clicks[0], agent).status == 302
        diary.clicks += 1
        self.world.clock.advance(MINUTE)

    def buy(self, diary: Diary, category: str = "shoes", late: timedelta = timedelta(0)) -> dict[str, Any]:
        """Buy one thing; `late` is how long ago it really happened."""
        order = self.world.buy(diary.name, category)
        at = self.world.clock.now() - late
        self.world.tell(order | {"timestamp": at.isoformat()})
        diary.orders.append(order["properties"]["order_id"])
        diary.late += late > MINUTE
        self.world.clock.advance(MINUTE)
        return order


def clicked_unseen(town: Town, diary: Diary) -> None:
    town.click(diary)


def swapped(town: Town, diary: Diary) -> None:
    town.look(diary)
    town.buy(diary)
    town.look(diary)


def returned(town: Town, diary: Diary) -> None:
    town.look(diary)
    order = town.buy(diary)
    town.look(diary)
    town.world.tell(town.world.give_back(order))
    diary.orders.append(order["properties"]["order_id"])
    town.world.clock.advance(MINUTE)
    town.look(diary)


def arrived_late(town: Town, diary: Diary) -> None:
    town.look(diary)
    town.buy(diary, late=timedelta(minutes=30))


def unsubscribed(town: Town, diary: Diary) -> None:
    town.look(diary)
    fetch(town.world.render.url, town.mail(diary.name).unsubscribe, method="POST",
          form={"List-Unsubscribe": "One-Click"})  # fmt: skip
    profile = town.mail(diary.name).token.profile
    state = "SELECT count(*) AS n FROM consent WHERE profile_id = :p AND NOT granted"
    until(lambda: town.world.rows(state, p=profile)[0].n, "the withdrawal to arrive")
    town.look(diary, kept=False)


def merged(town: Town, diary: Diary) -> None:
    """The shop learns that a visitor was this customer all along."""
    town.look(diary)
    visitor = f"visitor-{diary.name}"
    order = town.world.buy(diary.name)
    town.world.tell({k: v for k, v in order.items() if k != "userId"} | {"anonymousId": visitor})
    diary.orders.append(order["properties"]["order_id"])
    town.world.tell({"type": "identify", "userId": diary.name, "anonymousId": visitor, "traits": {}})
    town.world.clock.advance(MINUTE)
    town.look(diary)


def complained(town: Town, diary: Diary) -> None:
    town.look(diary)
    said = {"complaint_id": f"c-{diary.name}", "text": "It squeaks."}
    town.world.tell({"type": "track", "userId": diary.name, "event": "Complaint Opened", "properties": said})
    town.world.clock.advance(MINUTE)
    town.look(diary)


def chain(*steps: Callable[[Town, Diary], object]) -> Callable[[Town, Diary], None]:
    def all_of(town: Town, diary: Diary) -> None:
        for step in steps:
            step(town, diary)

    return all_of


def looks(agent: str, *, dark: bool = False) -> Callable[[Town, Diary], None]:
    return lambda town, diary: town.look(diary, agent, dark=dark)


STORIES: tuple[Callable[[Town, Diary], object], ...] = (
    looks(BROWSER), looks(GMAIL), looks(APPLE), looks(SCANNER), chain(looks(GMAIL_PREFETCH), looks(GMAIL)),
    lambda town, diary: None, chain(Town.buy, looks(BROWSER)), swapped, returned, chain(looks(BROWSER), Town.click),
    clicked_unseen, chain(looks(BROWSER), Town.click, Town.buy), arrived_late, unsubscribed, merged, complained,
    looks(BROWSER, dark=True), chain(looks(BROWSER), Town.view), chain(looks(GMAIL), looks(GMAIL), looks(BROWSER)),
    chain(looks(BROWSER), lambda town, diary: town.click(diary, SCANNER)),
)  # fmt: skip
