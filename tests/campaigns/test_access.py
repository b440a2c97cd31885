"""Who may do what: every route says so and is held to it; signing in; forms; what each change and look leaves."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier

import pytest
from argon2 import extract_parameters
from argon2.profiles import RFC_9106_LOW_MEMORY
from flask import Flask
from markupsafe import escape
from sqlalchemy import delete, func, select
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from base.clock import monotonic
from campaigns import access, people
from campaigns.access import PUBLIC, allow, roles_of
from campaigns.models import AccessEntry, AdminEntry, SignIn, User
from tests.campaigns.shop import MANAGER, Shop
from tests.campaigns.web import PASSWORD, Browser, Program, Web

EXPECTED = {
    "health": PUBLIC, "signin": PUBLIC, "document": PUBLIC, "static": PUBLIC, "icon": PUBLIC,
    "home": "manager support approver", "campaigns": "manager", "running": "manager", "preview": "manager approver",
    "offers": "manager", "creatives": "manager", "matrix": "manager", "pictures": "manager", "scores": "manager",
    "segments": "manager", "segments.index": "manager support", "segments.people": "manager support",
    "products": "manager support",
    "arms": "manager", "models": "manager", "relations": "manager", "timing": "manager", "checks": "manager",
    "scenarios": "manager", "customers": "support", "permissions": "support", "mailreports": "admin",
    "calls": "support", "exports": "manager", "merges": "support", "merges.join": "admin", "merges.undo": "admin",
    "households": "support",
    "merges.look": "admin", "merges.decide": "admin",
    "lineage": "admin", "exploring": "manager", "takers": "manager", "system": "admin", "sending": "admin",
    "running.ledger": "manager support", "sendlimits": "manager", "sendlimits.save": "admin",
    "checks.show": "manager approver", "checks.fields": "manager approver", "checks.approve": "approver",
    "checks.refuse": "approver", "corrections": "support", "customers.export": "admin",
    "erasure": "admin", "erasure.progress": "support",
    "approvals": "manager approver", "running.audience_count": "manager approver", "messageevents": "manager",
    "gateways": "admin", "texts": "manager",
    "stream": "support", "stream.replay": "admin", "stream.replay_all": "admin", "trackingplan": "admin",
    "shops": "admin",
}  # fmt: skip
"""Who the pages of each area are for; single pages that differ by their own name. Admins may everything."""
ARGUMENTS = {"campaign_id": 1, "offer_id": 1, "delivery_id": 1, "profile": 1, "slot": 0, "user_id": 1, "decision": "d",
             "sha256": "00", "event": 1, "line": 0, "filename": "app.css", "key_id": "k",
             "gateway_id": 1, "kind": "taken", "product_id": "p"}  # fmt: skip
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def rules(web: Web, *, pages: bool) -> Iterator[tuple[Rule, str]]:
    """Every route and method, of the pages or of the API."""
    for rule in web.app.url_map.iter_rules():
        if rule.rule.startswith("/api/v1/") != pages:
            for method in METHODS:
                if method in (rule.methods or ()):
                    yield rule, method


def address(web: Web, rule: Rule) -> str:
    with web.app.test_request_context():
        return web.app.url_map.bind("localhost").build(
            rule.endpoint, {name: ARGUMENTS.get(name, 1) for name in rule.arguments}, force_external=False
        )


def count(web: Web, table: type[AccessEntry | AdminEntry | SignIn]) -> int:
    with web.shop.sessions.begin() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_it_opens_each_page_to_the_roles_that_were_meant(web: Web) -> None:
    for rule, _ in rules(web, pages=True):
        area = rule.endpoint.partition(".")[0]
        meant = EXPECTED.get(rule.endpoint) or EXPECTED[area]
        assert roles_of(web.app.view_functions[rule.endpoint]) == set(meant.split()), rule.endpoint


def test_it_refuses_to_start_with_a_route_that_does_not_say_who_may_use_it() -> None:
    app = Flask("forgetful")
    app.add_url_rule("/open", "open", allow("manager")(lambda: ""))
    access.check_routes(app)
    app.add_url_rule("/forgotten", "forgotten", lambda: "")
    with pytest.raises(RuntimeError, match="forgotten"):
        access.check_routes(app)


def test_it_holds_every_page_to_its_roles(web: Web) -> None:
    web.shop.campaign()
    browsers = {roles: web.browser(*roles) for roles in (("manager",), ("support",), ("admin",))}
    for rule, method in rules(web, pages=True):
        wanted = roles_of(web.app.view_functions[rule.endpoint])
        at = address(web, rule)
        if PUBLIC in wanted:
            continue
        stranger = web.stranger()
        stranger.get("/sign-in")
        answer = stranger.get(at) if method == "GET" else stranger.post(at)
        assert (answer.status_code, answer.headers.get("Location", "")[:14]) in ((302, "/sign-in?next="), (401, "")), at
        for roles, browser in browsers.items():
            may = roles == ("admin",) or bool(wanted & set(roles))
            if may and method == "POST":
                continue  # What they do when they may has tests of its own; here nothing is to be changed.
            answer = browser.get(at) if method == "GET" else browser.post(at)
            status = answer.status_code
            answer.close()
            assert (status != 403) if may else (status == 403), (rule.endpoint, roles, status)
            assert status < 500, (rule.endpoint, roles)


def test_it_holds_every_call_to_the_roles_of_its_key(web: Web) -> None:
    programs = {role: web.program(role) for role in ("manager", "support")}
    for rule, method in rules(web, pages=False):
        wanted = roles_of(web.app.view_functions[rule.endpoint])
        at = address(web, rule).removeprefix("/api/v1")
        assert web.app.test_client().open(f"/api/v1{at}", method=method).status_code == 401, at
        for role, program in programs.items():
            if role not in wanted:
                refused = program.call(method, at, {})
                assert refused.status_code == 403, (at, role)
                assert any(name in refused.text for name in ("admin", "manager", "approver", "support"))


def test_it_takes_no_word_of_a_site_key_or_a_revoked_one(web: Web) -> None:
    with web.shop.sessions.begin() as session:
        _, site = people.issue_key(session, "site", "site", [], web.shop.now, MANAGER, ["https://shop.example.com"])
        row, ended = people.issue_key(session, "ended", "server", ["admin"], web.shop.now, MANAGER)
        people.revoke_key(session, row.id, web.shop.now, MANAGER)
    client = web.app.test_client()
    for text in (site, ended, "", "x", "x.y", f"{row.id}.", "Ω.Ω"):
        answer = client.get("/api/v1/offers", headers={"Authorization": f"Bearer {text}".encode().decode("latin-1")})
        assert answer.status_code == 401, text
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_it_refuses_every_form_without_the_page_it_came_from(web: Web) -> None:
    web.shop.campaign()
    before = count(web, AdminEntry)
    admin = web.browser("admin")
    signed_in = count(web, AdminEntry)
    for rule, method in rules(web, pages=True):
        if method == "POST":
            for token in ("", "forged"):
                answer = admin.client.post(address(web, rule), data={"csrf_token": token} if token else {})
                assert answer.status_code == 400, rule.endpoint
    assert count(web, AdminEntry) == signed_in == before + 2  # the person was made and signed in


@pytest.mark.usefixtures("shipped_hashes")
def test_it_does_not_tell_whether_an_address_is_known(web: Web) -> None:
    assert extract_parameters(people._HASHER.hash(PASSWORD)) == RFC_9106_LOW_MEMORY
    assert not people._HASHER.check_needs_rehash(people._NOBODY)
    known = web.person("manager")
    answers = []
    seconds = []
    for email in (known, "nobody@example.com"):
        stranger = web.stranger()
        stranger.get("/sign-in")
        took = []
        for _ in range(3):
            began = monotonic()
            answer = stranger.post("/sign-in", email=email, password="wrong-password-1")
            took.append(monotonic() - began)
        seconds.append(min(took))
        assert answer.status_code == 401
        answers.append(re.sub(r'value="[^"]*"', "", answer.text))
    assert answers[0] == answers[1]
    # The hash takes tens of milliseconds: without it an unknown address would be answered many times as fast.
    assert max(seconds) < 4 * min(seconds)


def test_it_ends_every_session_with_a_new_password(web: Web) -> None:
    browser = web.browser("manager")
    assert browser.get("/campaigns/").status_code == 200
    with web.shop.sessions.begin() as session:
        (manager,) = session.scalars(select(User).where(User.email == "manager@example.com"))
        people.change_user(session, manager.id, web.shop.now, MANAGER, password="another-horse-battery")
    assert browser.get("/campaigns/").status_code == 302


def test_it_lets_nobody_in_who_was_locked_out(web: Web) -> None:
    browser = web.browser("manager")
    with web.shop.sessions.begin() as session:
        for user in session.scalars(select(User)):
            user.active = False
    assert browser.get("/campaigns/").status_code == 302
    stranger = web.stranger()
    stranger.get("/sign-in")
    assert stranger.post("/sign-in", email="manager@example.com", password=PASSWORD).status_code == 401


def test_it_stops_guessing(web: Web) -> None:
    email = web.person("manager")
    stranger = web.stranger()
    stranger.get("/sign-in")
    # The window is a minute of the clock: it may turn once while the tries go on.
    statuses = [stranger.post("/sign-in", email=email, password="guess-guess-1").status_code for _ in range(22)]
    assert statuses[:10] == [401] * 10
    assert 429 in statuses
    refused = stranger.post("/sign-in", email=email, password=PASSWORD)
    assert refused.status_code == 429 or statuses[-1] == 401
    assert "Too many tries" in stranger.post("/sign-in", email=email, password="guess-guess-1").text


def test_it_counts_tries_at_an_account_by_a_hash_that_nobody_can_try_out(web: Web) -> None:
    stranger = web.stranger()
    stranger.get("/sign-in")
    assert stranger.post("/sign-in", email="Who@example.com", password="guess-guess-1").status_code == 401
    counted = b" ".join(web.shop.queues.scan_iter(match="*limits*")).decode()
    told = hmac.digest(web.shop.settings.session_key, b"account who@example.com", "sha256").hex()
    assert told in counted
    assert hashlib.sha256(b"who@example.com").hexdigest() not in counted


def test_it_counts_tries_by_whose_they_are_and_not_by_our_balancer(shop: Shop) -> None:
    shop.settings = replace(shop.settings, trusted_proxies=("127.0.0.0/8",))
    web = Web(shop)
    email = web.person("manager")
    guesser, colleague = web.stranger(), web.stranger()
    guesser.client.environ_base["HTTP_X_FORWARDED_FOR"] = "198.51.100.9, 203.0.113.1"
    colleague.client.environ_base["HTTP_X_FORWARDED_FOR"] = "203.0.113.2"
    guesser.get("/sign-in")
    tries = [{"email": f"g{number}@example.com", "password": "guess-guess"} for number in range(22)]
    assert 429 in {guesser.post("/sign-in", **one).status_code for one in tries}
    colleague.get("/sign-in")
    assert colleague.post("/sign-in", email=email, password=PASSWORD).status_code == 302
    with shop.sessions.begin() as session:
        assert session.scalars(select(AdminEntry.remote).where(AdminEntry.action == "sign in")).all() == ["203.0.113.2"]
    web.close()


NEXT = [
    ("/campaigns/", "/campaigns/"), ("https://evil.example/", "/"), ("//evil.example/", "/"), ("/\\evil.example", "/"),
    ("//[", "/"), ("javascript:alert(1)", "/"), ("/\t/evil.example", "/"), ("/%09/evil.example", "/%09/evil.example"),
]  # fmt: skip


def test_it_goes_on_to_pages_of_ours_only(web: Web) -> None:
    email = web.person("manager")
    for wanted, went in NEXT:
        stranger = web.stranger()
        stranger.get("/sign-in")
        answer = stranger.post("/sign-in", email=email, password=PASSWORD, next=wanted)
        assert (answer.status_code, answer.headers["Location"]) == (302, went), wanted


def test_it_ends_the_session_on_signing_out(web: Web) -> None:
    browser = web.browser("manager")
    assert browser.get("/campaigns/").status_code == 200
    browser.post("/sign-out")
    assert browser.get("/campaigns/").status_code == 302


def test_it_hardens_every_answer(web: Web) -> None:
    browser = web.browser("admin")
    for path in ("/", "/campaigns/", "/no-such", "/sign-in", "/system/"):
        headers = browser.get(path).headers
        assert "script-src 'self'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
    cookie = browser.client.get_cookie("latebind")
    assert cookie is not None
    assert (cookie.http_only, cookie.same_site) == (True, "Lax")
    with browser.client.get("/static/app.css") as asset:
        assert "immutable" in asset.headers["Cache-Control"]


def test_it_ends_a_copied_session_on_signing_out_and_no_other(web: Web) -> None:
    browser, elsewhere, thief = web.browser("manager"), web.browser("manager"), web.stranger()
    cookie = browser.client.get_cookie("latebind")
    assert cookie is not None
    thief.client.set_cookie("latebind", cookie.value)
    assert thief.get("/campaigns/").status_code == 200
    browser.post("/sign-out")
    assert thief.get("/campaigns/").status_code == 302
    assert elsewhere.get("/campaigns/").status_code == 200
    web.shop.clock.advance(people.LASTING + timedelta(minutes=1))
    assert elsewhere.get("/campaigns/").status_code == 302
    web.shop.clock.advance(-people.LASTING)
    with web.shop.sessions.begin() as session:
        manager = session.scalars(select(User).where(User.email == web.person("manager"))).one()
        moments = [web.shop.now + timedelta(seconds=number) for number in range(people.MAX_BROWSERS + 3)]
        words = [people.sign_in(session, manager, at) for at in moments]
        there = [people.signed_in(session, manager.id, word, moments[-1]) is not None for word in words]
        assert there == [False] * 3 + [True] * people.MAX_BROWSERS
    assert count(web, SignIn) == people.MAX_BROWSERS


def test_who_is_let_in_again_signs_in_anew(web: Web) -> None:
    browser = web.browser("manager")
    with web.shop.sessions.begin() as session:
        manager = session.scalars(select(User).where(User.email == web.person("manager"))).one()
        for active in (False, True):
            people.change_user(session, manager.id, web.shop.now, MANAGER, active=active)
    assert browser.get("/campaigns/").status_code == 302


FORM = {"name": "Spring", "note": 'Two lines,\n"quoted" & <b>bold</b>', "password": "hunter2hunter2"}
OURS = {"Sec-Fetch-Site": "same-origin"}


def sent(browser: Browser, headers: dict[str, str]) -> TestResponse:
    """A form that is posted with what the browser says of where it comes from."""
    return browser.client.post("/offers/new", data={"csrf_token": browser.token} | FORM, headers=headers)


@pytest.mark.parametrize("signed_out", ["here", "elsewhere", "never in"])
def test_it_keeps_what_was_typed_when_somebody_is_signed_out_meanwhile(web: Web, signed_out: str) -> None:
    browser = web.browser("manager") if signed_out != "never in" else web.stranger()
    browser.get("/offers/new")
    if signed_out == "here":
        browser.client.delete_cookie("latebind")
    with web.shop.sessions.begin() as session:
        session.execute(delete(SignIn))
    answer = sent(browser, OURS)
    assert answer.status_code == 401
    assert "Not sent yet" in answer.text
    assert escape(FORM["note"]) in answer.text
    assert "hunter2" not in answer.text
    browser.get("/sign-in")
    email = web.person("manager")
    again = re.search(r'name="csrf_token" value="([^"]+)"', answer.text)
    assert again
    assert browser.post("/sign-in", email=email, password=PASSWORD).status_code == 302
    browser.token = again[1]
    assert "Not sent yet" not in sent(browser, OURS).text, "the page's own token holds after signing in"


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://elsewhere.example"},
                                     {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}])  # fmt: skip
def test_it_hands_back_no_form_that_another_site_sent(web: Web, headers: dict[str, str]) -> None:
    for browser in (web.stranger(), web.browser("manager")):
        browser.token = "forged"
        answer = sent(browser, headers)
        assert answer.status_code == 400
        assert "Spring" not in answer.text


def test_a_form_that_lay_open_too_long_is_sent_again(web: Web) -> None:
    browser = web.browser("manager")
    browser.token = "stale"
    answer = sent(browser, {"Origin": "http://localhost"})
    assert answer.status_code == 400
    assert "Not sent yet" in answer.text
    assert "Spring" in answer.text


def test_of_many_clicks_at_once_one_is_done_and_the_others_are_told_so(web: Web) -> None:
    browsers, form = [web.browser("manager") for _ in range(4)], {"name": "Twin", "subject": "Hello"}
    start = Barrier(len(browsers))
    design = {"document": web.program("manager").told("GET", "/creatives/1")["document"]}

    def click(browser: Browser) -> int:
        program = Program(browser.client, key)
        start.wait()
        return program.call("POST", "/creatives", form | design).status_code

    key = web.program("manager").key
    for turn in range(5):
        form = {"name": f"Twin {turn}"}
        with ThreadPoolExecutor(len(browsers)) as pool:
            assert sorted(pool.map(click, browsers)) == [201, 409, 409, 409]


@pytest.mark.parametrize("path", ["/products/a%00b", "/api/v1/products/a%00b", "/api/v1/products/a%00b/pictures"])
def test_no_address_holds_a_character_that_cannot_be_kept(web: Web, path: str) -> None:
    answer = web.browser("manager").get(path) if not path.startswith("/api/") else None
    told = answer or web.program("manager").call("GET", path.removeprefix("/api/v1"))
    assert told.status_code == 404
