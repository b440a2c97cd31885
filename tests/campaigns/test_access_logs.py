"""What using the product leaves behind: a line for every change, a line for every look at a person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from campaigns.models import AccessEntry, AdminEntry
from tests.campaigns.desk import SCENARIO, Desk
from tests.campaigns.shop import MESSAGE
from tests.campaigns.test_pictures import uploaded
from tests.campaigns.web import PASSWORD, Web
from tests.misbehaving import photo

MUTATING = {"POST", "PUT", "PATCH", "DELETE"}
READS_ONLY = {
    "offers.preview", "api.preview_campaign", "preview.choose", "customers.find", "api.find_customers",
    "api.name_customer", "creatives.preview", "api.draw_creative", "exploring.compare", "api.explore_decision",
    "stream.find",
}  # fmt: skip
"""Posted because much is said to them, but they change nothing."""


def act(desk: Desk, campaign: int, what: str, **more: str) -> Any:
    return desk.browser.post(f"/campaigns/{campaign}/schedule", do=what, **more)


PAGES: dict[str, Callable[[Desk], Any]] = {
    "signin.enter": lambda d: d.web.browser("manager"),
    "signin.leave": lambda d: d.web.browser("support").post("/sign-out"),
    "campaigns.create": lambda d: d.browser.post(
        "/campaigns/new", name="From the page", layout="offers", landing="https://shop.example.com/"
    ),
    "campaigns.save_audience": lambda d: d.browser.post(
        f"/campaigns/{d.campaign()}/audience", **{"condition-0": "orders", "comparison-0": ">=", "value-0": "2"}
    ),
    "campaigns.save_message": lambda d: d.browser.post(
        f"/campaigns/{d.campaign()}/message", subject="Other", from_name="Shop", from_address="shop@example.com",
        postal_address="1 Street", mjml=MESSAGE.mjml, text=MESSAGE.text,
    ),
    "scenarios.create": lambda d: d.browser.post(
        f"/campaigns/{d.campaign()}/scenarios/new", name="Sees it", **{"shows-0": "kind:replacement"}
    ),
    "scenarios.save": lambda d: d.browser.post(d.scenario(), name="Sees", **{"shows-0": "kind:replacement"}),
    "scenarios.remove": lambda d: d.browser.post(f"{d.scenario()}/remove"),
    "checks.ask": lambda d: d.browser.post(f"/campaigns/{d.campaign()}/checks/ask", note="It is meant so"),
    "checks.approve": lambda d: d.browser.post("/campaigns/{}/checks/approve/{}".format(*d.asked())),
    "checks.refuse": lambda d: d.browser.post("/campaigns/{}/checks/refuse/{}".format(*d.asked()), note="No"),
    "checks.lock": lambda d: d.browser.post(f"/campaigns/{d.campaign()}/checks/lock"),
    "checks.unlock": lambda d: d.browser.post(f"/campaigns/{d.locked()}/checks/unlock"),
    "system.change_approval": lambda d: d.browser.post("/system/approval", brand="Another", required="no"),
    "campaigns.save_offers": lambda d: d.browser.post(
        f"/campaigns/{d.campaign()}/offers", default_landing="https://shop.example.com/other",
        **{"default-0": "1", "default-1": "1"},
    ),
    "arms.save": lambda d: d.browser.post(
        f"/campaigns/{d.campaign()}/arms/", **{"name-0": "A", "share-0": "50", "name-1": "B", "share-1": "50"}
    ),
    "running.act": lambda d: act(d, d.campaign(), "kill"),
    "running.resolve": lambda d: d.browser.post("/campaigns/{}/ledger/{}".format(*d.unknown()), outcome="accepted"),
    "running.send_again": lambda d: d.browser.post(f"/campaigns/{d.failed()}/ledger"),
    "offers.create": lambda d: d.browser.post("/offers/new", **d.offer()),
    "offers.save": lambda d: d.browser.post(f"/offers/{d.new_id('/offers', d.offer())}", **d.offer()),
    "offers.archive": lambda d: d.browser.post(f"/offers/{d.new_id('/offers', d.offer())}/archive"),
    "relations.add": lambda d: d.browser.post("/relations/", **d.relation()),
    "relations.remove": lambda d: d.browser.post(
        f"/relations/{d.new_id('/relations/by-hand', d.relation())}/remove"
    ),
    "creatives.create": lambda d: d.browser.post("/creatives/new", **d.creative_form()),
    "creatives.save": lambda d: d.browser.post("/creatives/3", **d.creative_form(3)),
    "creatives.archive": lambda d: d.browser.post(f"/creatives/{d.new_id('/creatives', d.creative())}/archive"),
    "pictures.upload": lambda d: uploaded(d.browser, photo()),
    "pictures.change": lambda d: d.browser.post(f"/pictures/{d.picture()}", name="Sea", focus_x="10", focus_y="20"),
    "pictures.for_product": lambda d: d.browser.post(f"/pictures/{d.picture()}/product", product=d.product()),
    "pictures.archive": lambda d: d.browser.post(f"/pictures/{d.picture()}/archive"),
    "pictures.retry": lambda d: d.browser.post("/pictures/retry", product="towel"),
    "texts.save": lambda d: d.browser.post(
        f"/campaigns/{d.campaign()}/text", gateway=str(d.gateway()),
        **{"locale-0": "en", "body-0": "{{ link.hero }} {{ link.unsubscribe }}"},
    ),
    "gateways.create": lambda d: d.browser.post(
        "/system/gateways/", name="Page", kind="sms", url="https://gateway.example.com/"
    ),
    "gateways.change": lambda d: d.browser.post(
        f"/system/gateways/{d.gateway()}", name="Changed on the page", url="https://other.example.com/", per_hour="9"
    ),
    "gateways.act": lambda d: d.browser.post(f"/system/gateways/{d.gateway()}/act", action="switch off"),
    "segments.create": lambda d: d.browser.post("/segments/new", name="By the page"),
    "segments.save": lambda d: d.browser.post(f"/segments/{d.segment_id()}", name="Saved by page"),
    "segments.delete": lambda d: d.browser.post(f"/segments/{d.new_id('/segments', d.segment())}/delete"),
    "exports.create": lambda d: d.browser.post("/exports/", name=f"Page {d.segment_id()}", segment=str(d.segment_id())),
    "exports.act": lambda d: d.browser.post(f"/exports/{d.export()}/act", action="pause"),
    "exports.confirm": lambda d: d.browser.post(f"/exports/{(one := d.export())}/file", batch=d.batch(one)),
    "permissions.state": lambda d: d.browser.post(
        f"/customers/{d.web.shop.profile('ada')}/permissions", purpose="tracking", granted="yes", why="Told by phone"
    ),
    "erasure.erase": lambda d: d.browser.post(
        f"/customers/{(one := d.web.shop.people('leaving')[0])}/erase", profiles=str(one), typed="leaving"
    ),
    "permissions.lift": lambda d: d.browser.post(
        f"/customers/{d.web.shop.profile('ada')}/addresses/lift", address=d.stopped(), why="It works again"
    ),
    "corrections.correct": lambda d: d.browser.post(
        f"/customers/{d.web.shop.profile('ada')}/corrections", word="gift", **d.bought()
    ),
    "corrections.add": lambda d: d.browser.post(
        f"/customers/{d.web.shop.profile('ada')}/notes", kind="note", text="Wants to be called back."
    ),
    "corrections.settle": lambda d: d.browser.post(
        f"/customers/{d.web.shop.profile('ada')}/complaints/settle", case=d.complaint()
    ),
    "calls.tell": lambda d: d.told_on_page(),
    "lineage.save": lambda d: d.browser.post("/system/traits/", name="city", policy="longest"),
    "lineage.trust": lambda d: d.browser.post(f"/system/traits/sources/{d.source('till')}", trust="150"),
    "merges.join": lambda d: d.merged_on_page(),
    "merges.undo": lambda d: d.browser.post(d.merged_on_page(), sure="1"),
    "households.join": lambda d: d.lives_with_page(),
    "households.leave": lambda d: d.browser.post(f"{d.lives_with()}/leave", why="They moved out"),
    "merges.look": lambda d: d.browser.post("/customers/likely/run"),
    "merges.decide": lambda d: d.browser.post("/customers/likely/{}/{}".format(*d.two()), answer="two"),
    "models.act": lambda d: d.browser.post(f"/models/campaigns/{d.campaign()}", do="rules", reason="for now"),
    "scores.run": lambda d: d.browser.post("/scores/run"),
    "scores.add_band": lambda d: d.browser.post(
        "/scores/bands", name="By page", score="churn", at_least="20", below="50"
    ),
    "scores.set_guard": lambda d: d.browser.post("/scores/guard", margin="40", contact="5", **{"return": "4"}),
    "sendlimits.save": lambda d: d.browser.post("/system/send-limits/", per_hour="1000"),
    "system.change_contact_limit": lambda d: d.browser.post("/system/contact-limit", most="3", period_days="7"),
    "system.add_person": lambda d: d.browser.post(
        "/system/people", name="Nina", email="nina@example.com", password=PASSWORD, roles="support"
    ),
    "system.change_person": lambda d: d.browser.post(f"/system/people/{d.user()}"),
    "system.add_key": lambda d: d.browser.post(
        "/system/keys", name="A shop", kind="site", origins="https://shop.example.com"
    ),
    "system.revoke_key": lambda d: d.browser.post(
        f"/system/keys/{d.program.told('POST', '/keys', {'name': 'to end by page'})['id']}/revoke"
    ),
    "system.add_source": lambda d: d.browser.post("/system/sources", name="Tills", kind="server"),
    "sending.add_key": lambda d: d.browser.post("/system/sending/", domain="example.com", algorithm="ed25519"),
    "sending.activate_key": lambda d: d.browser.post(
        f"/system/sending/keys/{d.dkim_key('by-page')}/activate", unchecked="1"
    ),
    "sending.retire_key": lambda d: d.browser.post(f"/system/sending/keys/{d.dkim_key('ended-by-page')}/retire"),
    "stream.replay": lambda d: d.browser.post(f"/stream/refused/{d.refused()}/replay"),
    "stream.replay_all": lambda d: d.browser.post("/stream/replay", name="No Such Event"),
    "shops.add": lambda d: d.browser.post("/system/shops/", name="By page", platform="woocommerce"),
    "trackingplan.save": lambda d: d.browser.post("/system/tracking-plan/", name="By page", p0="size", type0="text"),
    "trackingplan.remove": lambda d: d.browser.post(f"/system/tracking-plan/{d.planned('To remove')}/remove"),
    "trackingplan.close": lambda d: d.browser.post(
        f"/system/tracking-plan/sources/{d.source('closed by page')}", closed="1"
    ),
    "system.end_source": lambda d: d.browser.post(f"/system/sources/{d.source('to end by page')}/end"),
}  # fmt: skip
CALLS: dict[str, Callable[[Desk], Any]] = {
    "tell_next_offer": lambda d: d.program.told("POST", *d.call()),
    "create_offer": lambda d: d.program.told("POST", "/offers", d.offer()),
    "update_offer": lambda d: d.program.told("PUT", f"/offers/{d.new_id('/offers', d.offer())}", d.offer()),
    "archive_offer": lambda d: d.program.told("DELETE", f"/offers/{d.new_id('/offers', d.offer())}"),
    "create_creative": lambda d: d.program.told("POST", "/creatives", d.creative()),
    "update_creative": lambda d: d.program.told(
        "PUT", f"/creatives/{d.new_id('/creatives', d.creative())}", d.creative()
    ),
    "archive_creative": lambda d: d.program.told("DELETE", f"/creatives/{d.new_id('/creatives', d.creative())}"),
    "set_relation_by_hand": lambda d: d.program.told("POST", "/relations/by-hand", d.relation()),
    "remove_relation_by_hand": lambda d: d.program.told(
        "DELETE", f"/relations/by-hand/{d.new_id('/relations/by-hand', d.relation())}"
    ),
    "upload_picture": lambda d: d.picture(),
    "change_picture": lambda d: d.program.told("PUT", f"/pictures/{d.picture()}", {"name": "Sea"}),
    "archive_picture": lambda d: d.program.told("DELETE", f"/pictures/{d.picture()}"),
    "show_picture_for_product": lambda d: d.program.told(
        "POST", f"/pictures/{d.picture()}/product", {"product": d.product()}
    ),
    "retry_product_pictures": lambda d: d.program.told("POST", "/product-pictures/retry", {"products": ["towel"]}),
    "create_segment": lambda d: d.program.told("POST", "/segments", d.segment()),
    "update_segment": lambda d: d.program.told("PUT", f"/segments/{d.new_id('/segments', d.segment())}", d.segment()),
    "delete_segment": lambda d: d.program.told("DELETE", f"/segments/{d.new_id('/segments', d.segment())}"),
    "ask_for_scores": lambda d: d.program.told("POST", "/scores/runs"),
    "create_band": lambda d: d.program.told("POST", "/scores/bands", {"name": "By", "score": "ltv", "below": 9}),
    "set_guard_terms": lambda d: d.program.told("PUT", "/scores/guard", {"margin": 0.5}),
    "create_message": lambda d: d.program.told("POST", "/messages", d.message()),
    "update_message": lambda d: d.program.told("PUT", f"/messages/{d.web.shop.message()}", d.message()),
    "archive_message": lambda d: d.program.told("DELETE", f"/messages/{d.web.shop.message()}"),
    "create_campaign": lambda d: d.program.told("POST", "/campaigns", d.written()),
    "update_campaign": lambda d: d.program.told("PUT", f"/campaigns/{d.campaign()}", d.written()),
    "create_scenario": lambda d: d.program.told("POST", f"/campaigns/{d.campaign()}/scenarios", SCENARIO),
    "update_scenario": lambda d: d.program.told("PUT", d.scenario(), SCENARIO),
    "delete_scenario": lambda d: d.program.told("DELETE", d.scenario()),
    "ask_for_approval": lambda d: d.program.told("POST", f"/campaigns/{d.campaign()}/approvals", {"note": "Meant so"}),
    "approve_version": lambda d: d.owned().told("POST", f"/approvals/{d.asked()[1]}/approve", {}),
    "refuse_version": lambda d: d.program.told("POST", f"/approvals/{d.asked()[1]}/refuse", {"note": "No"}),
    "lock_campaign": lambda d: d.program.told("POST", f"/campaigns/{d.campaign()}/lock"),
    "unlock_campaign": lambda d: d.program.told("POST", f"/campaigns/{d.locked()}/unlock"),
    "set_approval_rule": lambda d: d.program.told("PUT", "/system/approval", {"brand": "A", "required": False}),
    "publish_campaign": lambda d: d.program.told("POST", f"/campaigns/{d.campaign()}/publish"),
    "schedule_campaign": lambda d: d.program.told(
        "POST", f"/campaigns/{d.campaign()}/schedule", {"due_at": d.web.shop.now.isoformat()}
    ),
    "unschedule_campaign": lambda d: d.program.told("POST", f"/campaigns/{d.campaign('scheduled')}/unschedule"),
    "pause_campaign": lambda d: d.program.told("POST", f"/campaigns/{d.campaign('scheduled')}/pause"),
    "resume_campaign": lambda d: d.program.told("POST", f"/campaigns/{d.campaign('paused')}/resume"),
    "leave_out_run": lambda d: d.program.told("POST", f"/campaigns/{d.late()}/leave-out"),
    "cancel_campaign": lambda d: d.program.told("POST", f"/campaigns/{d.campaign()}/cancel"),
    "kill_campaign": lambda d: d.program.told("POST", f"/campaigns/{d.campaign()}/kill"),
    "revive_campaign": lambda d: d.program.told("POST", f"/campaigns/{d.campaign()}/revive"),
    "withdraw_offer": lambda d: d.program.told("POST", f"/campaigns/{d.campaign()}/offers/1/withdraw"),
    "restore_offer": lambda d: d.program.told("POST", f"/campaigns/{d.campaign()}/offers/1/restore"),
    "set_campaign_model": lambda d: d.program.told("PUT", f"/campaigns/{d.campaign()}/model", {"model": None}),
    "take_model_step": lambda d: d.program.told(
        "POST", f"/campaigns/{d.campaign()}/model-steps", {"action": "rules", "reason": "for now"}
    ),
    "name_goal": lambda d: d.program.told(
        "PUT", f"/campaigns/{d.campaign()}/goal", {"metric": "orders", "window_days": 7}
    ),
    "name_costs": lambda d: d.program.told(
        "PUT", f"/campaigns/{d.campaign()}/costs", {"margin_share": 0.4, "window_days": 7}
    ),
    "send_test": lambda d: d.program.told(
        "POST", f"/campaigns/{d.campaign()}/tests",
        {"profile_ids": [d.web.shop.profile("ada")], "address": "me@example.com"},
    ),
    "send_campaign_again": lambda d: d.program.told("POST", f"/campaigns/{d.failed()}/send-again", {}),
    "resolve_delivery": lambda d: d.program.told(
        "POST", f"/deliveries/{d.unknown()[1]}/resolve", {"outcome": "failed"}
    ),
    "create_gateway": lambda d: d.program.told(
        "POST", "/gateways", {"name": "Made", "kind": "push", "url": "https://gateway.example.com/"}
    ),
    "change_gateway": lambda d: d.program.told(
        "PUT", f"/gateways/{d.gateway()}", {"name": "Changed", "url": "https://gateway.example.com/"}
    ),
    "act_on_gateway": lambda d: d.program.told("POST", f"/gateways/{d.gateway()}/act", {"action": "renew secret"}),
    "create_export": lambda d: d.program.told(
        "POST", "/exports", {"name": f"Told {d.segment_id()}", "segment": d.segment_id()}
    ),
    "act_on_export": lambda d: d.program.told("POST", f"/exports/{d.export()}/act", {"action": "end"}),
    "confirm_export_file": lambda d: d.program.told(
        "POST", f"/exports/{(one := d.export())}/file", {"batch": d.batch(one)}
    ),
    "state_consent": lambda d: d.program.told(
        "POST", f"/customers/{d.web.shop.profile('ada')}/consents",
        {"purpose": "email", "granted": True, "why": "Wrote"},
    ),
    "lift_suppression": lambda d: d.program.told(
        "POST", f"/customers/{d.web.shop.profile('ada')}/addresses/lift", {"address": d.stopped(), "why": "It works"}
    ),
    "set_trait_policy": lambda d: d.program.told("PUT", "/trait-policies", {"name": "city", "policy": "trusted"}),
    "set_trust": lambda d: d.program.told("PUT", f"/sources/{d.source('crm')}/trust", {"trust": 150}),
    "merge_customers": lambda d: d.merge(),
    "look_for_likely_matches": lambda d: d.program.told("POST", "/customers/likely/runs"),
    "keep_customers_apart": lambda d: d.program.told(
        "POST", f"/customers/{(two := d.two())[0]}/apart", {"other": two[1]}
    ),
    "undo_merge": lambda d: d.program.told("DELETE", d.merge()),
    "join_household": lambda d: d.lives_with(),
    "leave_household": lambda d: d.program.told("POST", f"{d.lives_with()}/leave", {"why": "They moved out"}),
    "correct_record": lambda d: d.program.told(
        "POST", f"/customers/{d.web.shop.profile('ada')}/corrections", d.bought() | {"word": "not_for_me"}
    ),
    "take_back_correction": lambda d: d.taken_back(),
    "add_note": lambda d: d.complaint(),
    "settle_complaint": lambda d: d.program.told(
        "POST", f"/customers/{d.web.shop.profile('ada')}/complaints/settle", {"complaint": d.complaint()}
    ),
    "erase_customer": lambda d: d.program.told("POST", f"/customers/{d.web.shop.people('gone')[0]}/erase"),
    "create_user": lambda d: d.user(),
    "change_user": lambda d: d.program.told("PATCH", f"/users/{d.user()}", {"active": False}),
    "create_key": lambda d: d.program.told("POST", "/keys", {"name": "another"}),
    "revoke_key": lambda d: d.program.told(
        "DELETE", f"/keys/{d.program.told('POST', '/keys', {'name': 'to end'})['id']}"
    ),
    "add_source": lambda d: d.program.told("POST", "/sources", {"name": "another", "kind": "browser"}),
    "end_source": lambda d: d.program.told("DELETE", f"/sources/{d.source('to end')}"),
    "replay_signal": lambda d: d.program.told("POST", f"/signals/refused/{d.refused()}/replay"),
    "replay_signals": lambda d: d.program.told("POST", "/signals/replay", {"name": "No Such Event"}),
    "add_shop": lambda d: d.program.told("POST", "/shops", {"name": "B", "platform": "woocommerce", "prefix": "two-"}),
    "plan_event": lambda d: d.planned("By call"),
    "unplan_event": lambda d: d.program.told("DELETE", f"/tracking-plan/{d.planned('Taken out')}"),
    "close_source": lambda d: d.program.told(
        "PUT", f"/sources/{d.source('closed by call')}/planned-only", {"planned_only": True}
    ),
    "create_dkim_key": lambda d: d.dkim_key("by-call"),
    "activate_dkim_key": lambda d: d.program.told(
        "POST", f"/system/dkim-keys/{d.dkim_key('active-by-call')}/activate", {"unchecked": True}
    ),
    "retire_dkim_key": lambda d: d.program.told("POST", f"/system/dkim-keys/{d.dkim_key('ended-by-call')}/retire"),
    "set_send_limits": lambda d: d.program.told("PUT", "/system/send-limits", {"everything": {"per_day": 9}}),
    "set_contact_limit": lambda d: d.program.told("PUT", "/system/contact-limit", {"most": 2, "period_days": 7}),
    "lift_contact_limit": lambda d: d.program.told("DELETE", "/system/contact-limit"),
    "set_holdouts": lambda d: d.program.told("PUT", "/system/holdouts", {"send": 0.1}),
}  # fmt: skip
ACTIONS = PAGES | {f"api.{name}": call for name, call in CALLS.items()}


def entries(web: Web, table: type[AdminEntry] | type[AccessEntry]) -> list[Any]:
    with web.shop.sessions.begin() as session:
        return list(session.scalars(select(table).order_by(table.id)))


@pytest.mark.feature("OP-21")
def test_it_leaves_a_line_for_every_change_by_every_route(web: Web) -> None:
    routes = {rule.endpoint for rule in web.app.url_map.iter_rules() if (rule.methods or set()) & MUTATING}
    assert routes == set(ACTIONS) | READS_ONLY, "a new route belongs here"
    desk = Desk(web)
    for endpoint, action in ACTIONS.items():
        before = len(entries(web, AdminEntry))
        answer = action(desk)
        assert not hasattr(answer, "status_code") or answer.status_code < 400, (endpoint, answer.text[:2000])
        newest = entries(web, AdminEntry)[before:]
        assert newest, endpoint
        last = newest[-1]
        assert last.remote == "127.0.0.1", endpoint
        assert last.user_id is not None if endpoint in PAGES else last.actor.startswith("api key "), endpoint
        assert last.at == web.shop.now


SWITCHES = (
    "timing",
    "goal",
    "costs",
    "publish",
    "schedule",
    "unschedule",
    "now",
    "pause",
    "resume",
    "cancel",
    "test",
    "kill",
    "revive",
)


@pytest.mark.feature("OP-21")
def test_it_leaves_a_line_for_every_button_of_the_schedule(web: Web) -> None:
    desk = Desk(web)
    campaign = desk.campaign()
    forms: dict[str, dict[str, str]] = {
        "schedule": {"due_at": "2026-04-01T09:00", "timezone": "Europe/Vienna"},
        "timing": {"timing": "1", "clocks": "recipient"},
        "goal": {"metric": "revenue", "window_days": "30"},
        "test": {"person": "ada@example.com", "address": "me@example.com"},
        "costs": {"margin_share": "40", "profit_days": "14"},
    }
    for what in SWITCHES:
        before = len(entries(web, AdminEntry))
        if what in ("cancel", "test"):
            campaign = desk.campaign()
        answer = act(desk, campaign, what, **forms.get(what, {}))
        assert answer.status_code == 302, (what, answer.text[:3000])
        assert len(entries(web, AdminEntry)) > before, what
