"""What a campaign changed: clicks, and lift with its interval."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text

from campaigns import lift, past
from campaigns.lift import Past, Sample
from tests.campaigns.mailing import COSTS, bought, held_out, mailed, words
from tests.campaigns.web import Web

DAY = timedelta(days=1)


def test_results_tell_clicks_of_which_nothing_could_be_told(web: Web) -> None:
    """They are among the clicks and among those of no offer, so without this line the two would not agree."""
    number = mailed(web, 1)
    clicked = """
        INSERT INTO click (id, at, profile_id, campaign_id, occurrence, slot, fetch_class, unresolved, outcome, landing,
                           public, public_sha256)
        VALUES (:id, :at, :person, :campaign, 1, 0, 'person', :lost, :outcome, 'https://shop.example.com/', '', '')
    """
    given = {"at": web.shop.now, "person": web.shop.known()["g0"], "campaign": number}
    with web.shop.sessions.begin() as session:
        session.execute(text(clicked), given | {"id": "lost", "lost": True, "outcome": "unresolved"})
        session.execute(text(clicked), given | {"id": "page", "lost": False, "outcome": "default"})
    page = words(web.browser("manager").get(f"/campaigns/{number}/results").text)
    assert "Clicks of which what was shown could not be told in time 1 " in page


@pytest.mark.feature("CM-65")
def test_it_tells_a_lift_once_there_is_enough_to_tell_it_by(web: Web) -> None:
    browser, program = web.browser("manager"), web.program("manager")
    campaign = mailed(web, 200)
    program.told("PUT", f"/campaigns/{campaign}/goal", {"metric": "orders", "window_days": 7})
    groups = held_out(web, campaign)
    decided = [name for name, group in groups.items() if group == "none"]
    neutral = [name for name, group in groups.items() if group == "content"]
    web.shop.clock.advance(2 * DAY)
    web.shop.send(*(bought(web, name, 20) for name in decided[:10]))
    (early,) = program.told("GET", f"/campaigns/{campaign}/success")["definitions"]
    assert early["lift"]["difference"] is None
    assert early["lift"]["missing"] == "10 buyers so far; at least 20 are needed"
    page = words(browser.get(f"/campaigns/{campaign}/results").text)
    assert "Not enough data Decided content against neutral content: 10 buyers so far" in page
    web.shop.send(*(bought(web, name, 20) for name in (*decided[10:70], *neutral[:12])))
    (late,) = program.told("GET", f"/campaigns/{campaign}/success")["definitions"]
    expected = lift.lift(Sample(len(decided), 70, 70, 70), Sample(len(neutral), 12, 12, 12))
    assert late["lift"]["difference"] == pytest.approx(70 / len(decided) - 12 / len(neutral))
    assert [late["lift"][name] for name in ("low", "high")] == pytest.approx([expected.low, expected.high])
    assert late["lift"]["verdict"] == "gain"
    page = words(browser.get(f"/campaigns/{campaign}/results").text)
    assert "Gain Decided content against neutral content: +0." in page


@pytest.mark.feature("CM-65")
def test_it_adjusts_a_lift_by_what_people_had_ordered_before_and_says_what_it_was(web: Web) -> None:
    """Chance kept more of those from the offers who had ordered a quarter of a year ago; most of them order again."""
    browser, program = web.browser("manager"), web.program("manager")
    campaign = mailed(web, 300, content_holdout=0.5)
    program.told("PUT", f"/campaigns/{campaign}/goal", {"metric": "orders", "window_days": 7})
    program.told("PUT", f"/campaigns/{campaign}/costs", COSTS)
    groups = held_out(web, campaign)
    decided, neutral = ([name for name, group in groups.items() if group == which] for which in ("none", "content"))
    # By shares of the groups, for chance makes one of them larger each time.
    many, most = round(len(decided) * 0.25), round(len(neutral) * 0.45)
    then = web.shop.now - past.HALF_LIFE_DAYS * DAY
    web.shop.send(*(web.shop.order(name, "shoes", then) for name in (*decided[:many], *neutral[:most])))
    web.shop.clock.advance(2 * DAY)
    ours_again = (*decided[: many - 5], *decided[many : many + 10])
    web.shop.send(*(bought(web, name, 20) for name in (*ours_again, *neutral[: most - 8])))
    (found,) = program.told("GET", f"/campaigns/{campaign}/success")["definitions"]
    bought_again = len(ours_again)
    ours = Sample(len(decided), *(bought_again,) * 3, Past(many * 50, many * 2_500, (many - 5) * 50))
    theirs = Sample(len(neutral), *(most - 8,) * 3, Past(most * 50, most * 2_500, (most - 8) * 50))
    even = lift.adjusted(ours, theirs)
    assert even is not None
    expected, plain = lift.lift(*even), lift.lift(ours, theirs)
    told = found["lift"]
    assert [told[name] for name in ("difference", "low", "high")] == pytest.approx(
        [expected.difference, expected.low, expected.high]
    )
    assert [told["plain"][name] for name in ("difference", "low", "high")] == pytest.approx(
        [plain.difference, plain.low, plain.high]
    )
    assert told["narrowed"] == pytest.approx(1 - (expected.high - expected.low) / (plain.high - plain.low))
    assert told["narrowed"] > 0.2
    assert expected.difference > plain.difference + 0.05, "the decided were given fewer of those who order anyway"
    earned = program.told("GET", f"/campaigns/{campaign}/profit")
    for name, cents in (("revenue_lift", 2_000), ("profit_lift", 700)):
        assert earned[name]["difference"] == pytest.approx(cents * expected.difference)
        assert earned[name]["plain"]["difference"] == pytest.approx(cents * plain.difference)
    page = words(browser.get(f"/campaigns/{campaign}/results").text)
    assert (
        f"Adjusted by what each person had ordered before the mail: {told['narrowed']:.0%} narrower".replace("%", " %")
        in page
    )
    assert f"Not adjusted: {plain.difference:+.4f}".replace("-", "−") in page


def test_it_tells_no_lift_where_nothing_can_be_compared(web: Web) -> None:
    campaign = mailed(web, 40, content_holdout=0.0)
    web.program("manager").told("PUT", f"/campaigns/{campaign}/goal", {"metric": "orders", "window_days": 7})
    page = words(web.browser("manager").get(f"/campaigns/{campaign}/results").text)
    assert "Nobody was kept on neutral content, so nothing tells what the offers changed." in page
