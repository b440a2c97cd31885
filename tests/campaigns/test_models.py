"""The pages and the API of models: what they tell, and the steps they take."""

from __future__ import annotations

from campaigns.campaigns import SlotChoice
from campaigns.models.learning import ModelDrift, ModelShadow, ModelVerdict
from tests.campaigns.enlisting import enlisted, measured
from tests.campaigns.web import Web


def published(web: Web) -> int:
    """A published campaign that a model may decide."""
    default, offer = web.shop.offer("neutral"), web.shop.offer()
    slots = [SlotChoice(slot=0, default=default, offers=[offer], mode="model"), SlotChoice(slot=1, default=default)]
    return web.shop.campaign(slots=slots)


def test_it_leads_a_model_through_a_campaign_by_page(web: Web) -> None:
    campaign = published(web)
    old, new = enlisted(web.shop, {1: 0.9}, metrics=measured()), enlisted(web.shop, {2: 0.9})
    browser = web.desk("manager")
    page = f"/models/campaigns/{campaign}"
    assert "the rules" in browser.get(page).text
    refused = browser.post(page, do="live", model=old)
    assert refused.status_code == 400
    assert "The gate does not let this model go live" in refused.text
    assert browser.post(page, do="live", model=old, reason="<b>first</b>").status_code == 302
    assert browser.post(page, do="shadow", model=new).status_code == 302
    assert browser.post(page, do="canary", model=new, share="20", reason="a try").status_code == 302
    shown = browser.get(page).text
    assert "&lt;b&gt;first&lt;/b&gt;" in shown, "a reason is text"
    assert "80 % of the mails; the others are on trial" in shown
    assert "past the gate" in shown
    assert "nothing was measured yet" in shown

    evidence = {
        "method": "canary", "new": 130.0, "present": 100.0, "difference": 30.0, "low": 4.0, "high": 56.0,
        "opened": 900, "orders": 80, "effective": 300.0, "refused": None,
    }  # fmt: skip
    silent = evidence | {"method": "logs", "refused": "every choice was certain"}
    with web.shop.sessions.begin() as session:
        document = {"passes": True, "why": "It is worth more.", "evidence": [evidence, silent]}
        found = {"campaign_id": campaign, "model_hash": new, "at": web.shop.now}
        session.add(ModelVerdict(against=old, passes=True, document=document, **found))
        known = {"slots": {"0": 1}, "logged": 1.0, "chance": 0.0, "unsupported": 1.0}
        session.add(ModelShadow(decision_id="a" * 32, differs=True, **known, **found))
    shown = browser.get(page).text
    for words in ("may go live", "It is worth more.", "€0.30", "€0.04 to €0.56", "Every choice was certain."):
        assert words in shown, words
    assert "Of 1 recorded opens it would have shown something else in" in shown
    assert browser.post(page, do="live", model=new).status_code == 302
    assert browser.post(page, do="rollback", reason="worse").status_code == 302
    told = web.program("manager").told("GET", f"/campaigns/{campaign}/model-steps")
    assert told["live"] == old
    assert [step["action"] for step in told["steps"]] == ["rollback", "live", "canary", "shadow", "live"]
    assert [step["overridden"] for step in told["steps"]] == [False, False, False, False, True]
    for wrong in ({"do": "jump"}, {"do": "canary", "model": new}, {"do": "shadow"}, {"do": "live", "model": "x" * 64}):
        assert browser.post(page, **wrong).status_code == 400, wrong


def test_it_tells_all_about_a_model(web: Web) -> None:
    rich, poor = enlisted(web.shop, {1: 0.9}, metrics=measured()), enlisted(web.shop, {2: 0.9})
    drift = {
        "limit": 0.2, "score": 0.31, "features": [["category.days_since", 0.25], ["orders.count_28", 0.02]],
        "ratio": 0.9, "ratio_low": 0.8, "ratio_high": 1.0, "is_alarm": True, "why": "The scores have moved.",
        "turns": [{"category": "frozen-pies", "ratio": 3.02, "low": 2.1, "high": 4.4}],
    }  # fmt: skip
    with web.shop.sessions.begin() as session:
        session.add(ModelDrift(at=web.shop.now, model_hash=rich, document=drift))
    browser = web.desk("manager")
    listed = browser.get("/models/").text
    assert rich[:12] in listed
    assert poor[:12] in listed
    assert "32.4 %" in listed or "32.3 %" in listed
    shown = browser.get(f"/models/{rich}").text
    for words in (
        "0.0061",
        "Days since the category was last bought",
        "0.76 points",
        "The scores have moved.",
        "34.0 %",
        "2, of which 1 by a calibration of their own",
        "running-shoes",
        "0.0263",
        "2,040 on neutral content (X-learner).",
        "1.2 to 4.4",
        "frozen-pies, beside the weeks before",
        "3.0 times",
    ):
        assert words in shown, words
    assert "It was not kept." in browser.get(f"/models/{poor}").text
    assert browser.get(f"/models/{'e' * 64}").status_code == 404
    program = web.program("manager")
    assert [one["model"] for one in program.told("GET", "/models")["models"]] == sorted([rich, poor])
    told = program.told("GET", f"/models/{rich}")
    assert told["definitions"]["cart.lines"] == "lines in the cart"
    assert told["drift"][0]["found"] == drift
    assert program.call("GET", f"/models/{'e' * 64}").status_code == 404
