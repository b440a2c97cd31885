"""Clicks that went to another offer than was shown: raised, told in the person's records, and counted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from campaigns import disagreement
from render.record import ClickRecord, DecisionRecord
from signals.moments import unix_ms
from tests.campaigns.web import Web
from tests.promises.reader import Mail
from tests.workers.opens import Opens

MINUTE = timedelta(minutes=1)


def decision(opens: Opens) -> str:
    """The decision of the newest open that waits to be stored."""
    return [made.id for made in opens.waiting() if isinstance(made, DecisionRecord)][-1]


def planted(opens: Opens, mail: Mail, number: int, decided: str, offer: int, fetch_class: Any = "person") -> None:
    """A click's record that says it went to an offer of a decision, whatever was shown."""
    token, now = mail.token, unix_ms(opens.shop.now)
    opens.put(
        ClickRecord(
            id=f"{number:032x}", at_ms=now, profile=token.profile, campaign=token.campaign, occurrence=token.occurrence,
            slot=0, fetch_class=fetch_class, evidence={}, decision=decided, offer=offer,
        )
    )  # fmt: skip


@pytest.mark.feature("SU-17")
def test_it_raises_a_click_that_went_to_another_offer_than_was_shown(
    opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail, shop = opens.send("ann")["ann"], opens.shop
    opens.look(mail)
    first = decision(opens)
    shop.clock.advance(MINUTE)
    opens.get(mail.clicks[0])
    shop.send(shop.order("ann", "shoes", shop.now))
    shop.clock.advance(MINUTE)
    opens.look(mail)
    second = decision(opens)
    assert second != first
    shop.clock.advance(MINUTE)
    opens.get(mail.clicks[0])
    with monkeypatch.context() as late:  # The picture cannot be drawn: the default is seen, and clicked on.
        ladder = opens.client.application.extensions["parts"].ladder
        late.setattr(ladder, "at_hand", lambda *_: None)
        late.setattr(ladder, "best", ladder.default)
        shop.clock.advance(MINUTE)
        opens.look(mail, dark=True)
        opens.get(mail.clicks[0])
    shop.clock.advance(MINUTE)
    opens.look(mail)
    opens.record()
    (clicked,) = opens.rows("SELECT decision_id FROM click WHERE offer_id = :offer", offer=opens.default)
    assert clicked.decision_id == second, "the fallback belongs to the open whose offer could not be drawn"
    web = Web(shop)
    try:
        support, person = web.program("support"), mail.token.profile
        listed = f"/customers/{person}/timeline?kind=disagreement"
        assert support.told("GET", listed)["entries"] == [], "honest clicks agree with what was shown"

        # One is of another offer than its own decision chose; one of an open that another had followed by then.
        planted(opens, mail, 1, second, opens.discount)
        shop.clock.advance(MINUTE)
        planted(opens, mail, 2, first, opens.discount)
        planted(opens, mail, 3, second, opens.discount, "scanner")
        opens.record()
        shop.clock.advance(MINUTE)
        raised = support.told("GET", listed)["entries"]
        assert [one["decision"] for one in raised] == [first, second]
        with shop.sessions.begin() as session:
            assert len(disagreement.of_campaign(session, opens.campaign)) == 2
        names = {row.id: row.name for row in opens.rows("SELECT id, name FROM offer")}
        told = f"“{names[opens.thanks]}” was shown in this place, and the click went to “{names[opens.discount]}”"
        assert all(told in one["alarm"] for one in raised)
        whole = support.told("GET", f"/customers/{person}/timeline")["entries"]
        assert [one["alarm"] for one in whole if one["alarm"]] == [one["alarm"] for one in raised]
        for number, opened in enumerate((first, second)):
            assert support.told("GET", f"/customers/{person}/opens/{opened}")["alarms"] == [raised[number]["alarm"]]
            assert told in web.desk("support").get(f"/customers/{person}/opens/{opened}").text
        page = web.desk("support").get(f"/customers/{person}?kind=disagreement").text
        assert page.count("The records disagree") == 2
        counted = web.program("manager").told("GET", f"/campaigns/{opens.campaign}/report")
        assert counted["disagreeing"] == 2
    finally:
        web.close()


def test_it_takes_the_later_of_two_looks_in_one_millisecond(opens: Opens) -> None:
    mails = opens.send("ann", "bob", "cat", "dan")
    for name, mail in mails.items():
        opens.look(mail)
        opens.shop.send(opens.shop.order(name, "shoes", opens.shop.now))
        opens.look(mail, dark=True)
        opens.get(mail.clicks[0])
    opens.record()
    with opens.shop.sessions.begin() as session:
        assert disagreement.of_campaign(session, opens.campaign) == []
