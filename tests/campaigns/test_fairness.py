"""Fairness: offer rates of protected groups, a planted bias found, and nothing claimed of a few."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from campaigns import fairness
from tests.campaigns.mailing import words
from tests.campaigns.web import Web

DECIDED = """
    INSERT INTO decision (id, at, profile_id, campaign_id, occurrence, lane, open_number, plan_hash, seed, rung, lost,
                          slots, public, public_sha256)
    VALUES (:id, :at, :profile, :campaign, 1, 'live', 1, '', '1', 'rules', false, CAST(:slots AS jsonb), '', '')
"""


def open_all(web: Web, campaign: int, shown: dict[str, tuple[list[int], list[str]]]) -> None:
    """Decided opens on record: the offers shown to people of a name."""
    known = web.shop.known()
    with web.shop.sessions.begin() as session:
        for number, (offers, names) in shown.items():
            for name in names:
                slots = "{" + ",".join(f'"{slot}": {offer}' for slot, offer in enumerate(offers)) + "}"
                given = {"id": f"{number}-{name}", "at": web.shop.now, "profile": known[name], "campaign": campaign}
                session.execute(text(DECIDED), given | {"slots": slots})


@pytest.mark.feature("DE-34")
def test_it_finds_a_planted_bias_on_the_page_and_by_the_api(web: Web) -> None:
    """Nine of ten men and three of ten women are shown the loan; all are shown the savings plan; three are others."""
    shop = web.shop
    men, women, few = (
        [f"{kind}{number}" for number in range(count)] for kind, count in (("m", 60), ("f", 60), ("x", 3))
    )
    for names, gender in ((men, "male"), (women, "female"), (few, "other")):
        shop.people(*names, consent=False, gender=gender)
    campaign, loan, savings = shop.campaign(), shop.offer(name="Loan"), shop.offer(name="Savings")
    open_all(
        web,
        campaign,
        {"a": ([loan, savings], [*men[:54], *women[:18], *few]), "b": ([savings], [*men[54:], *women[18:]])},
    )
    told = web.program("manager").told("GET", f"/campaigns/{campaign}/fairness")
    groups = {group["value"]: {rate["offer"]: rate for rate in group["rates"]} for group in told["groups"]}
    assert (told["limit"], told["is_fair"]) == (0.8, False)
    assert groups["female"][loan]["verdict"] == groups["male"][loan]["verdict"] == "outside"
    assert groups["female"][loan]["share"] == pytest.approx(0.3)
    assert groups["female"][loan]["ratio"] == pytest.approx(0.3 / (57 / 63))
    assert groups["female"][savings]["verdict"] == groups["male"][savings]["verdict"] == "within"
    assert groups["other"] == {}, "three people are no group"
    page = words(web.browser("manager").get(f"/campaigns/{campaign}/fairness").text)
    assert "Gender: female outside the limit" in page
    assert "Gender: other not enough data Too few people" in page


def test_it_says_that_there_is_nobody_to_compare(web: Web) -> None:
    campaign = web.shop.campaign()
    page = words(web.browser("manager").get(f"/campaigns/{campaign}/fairness").text)
    assert "Nothing was shown to anybody whose gender or age_band is known." in page
    assert web.program("manager").told("GET", f"/campaigns/{campaign}/fairness")["is_fair"]
    refused = web.browser("manager").get(f"/campaigns/{campaign}/fairness?percent=20&traits=tier")
    assert (refused.status_code, "Limit: must be from 0.5 to 0.99" in refused.text) == (400, True)


@pytest.mark.parametrize(
    ("shown", "people", "verdict"),
    [
        ((500, 510), (1_000, 1_000), "within"), ((300, 500), (1_000, 1_000), "outside"),
        ((780, 990), (1_000, 1_000), "open"), ((5, 20), (40, 100), "open"), ((0, 80), (200, 200), "outside"),
        ((0, 0), (1_000, 1_000), "open"),
    ],
)  # fmt: skip
def test_it_goes_by_the_interval_and_not_by_the_ratio(
    shown: tuple[int, int], people: tuple[int, int], verdict: str
) -> None:
    first, _ = fairness.judged(
        "age_band", dict(zip("ab", people, strict=True)), {(1, "Loan"): dict(zip("ab", shown, strict=True))}, 0.8
    )
    assert [rate.verdict for rate in first.rates] == [verdict]
    assert first.rates[0].low < first.rates[0].high
