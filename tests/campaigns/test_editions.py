"""Two people on one form: who saves later is told what the earlier changed, and loses nothing that was typed."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import msgspec
import pytest

from campaigns.api.catalogue import CreativeIn, SegmentIn
from campaigns.campaigns import CampaignIn
from campaigns.offers import OfferIn
from tests.campaigns.test_pages import Form
from tests.campaigns.web import Browser, Web
from tests.campaigns.web import told as answered


def opened(browser: Browser, path: str) -> dict[str, str]:
    fields = pressed(browser.get(path).text)
    assert fields.get("edition"), f"{path} does not say what it was made from"
    return fields


def pressed(page: str) -> dict[str, str]:
    """What a browser posts of a page when its form is sent untouched, by no button of the editor."""
    return {name: value for name, value in Form(page).fields.items() if name != "do"}


def posted(browser: Browser, path: str, fields: dict[str, str]) -> tuple[int, str]:
    answer = browser.client.post(path, data=fields)
    return answer.status_code, answer.text


SEGMENT = {"name": "Buyers", "rule": {"field": "purchases.count", "category": "shoes", "op": ">=", "value": 1}}


def places(web: Web) -> dict[str, tuple[str, str]]:
    """The forms, each with a field of it that two people change."""
    web.shop.send(web.shop.order("ann", "shoes", web.shop.now))
    campaign = web.shop.campaign(published=False)
    manager = web.program("manager")
    segment = manager.told("POST", "/segments", SEGMENT)["id"]
    scenario = manager.told(
        "POST", f"/campaigns/{campaign}/scenarios", {"name": "Somebody", "expected": [{"slot": 0, "kind": "neutral"}]}
    )["id"]
    return {
        "offer": (f"/offers/{web.shop.offer()}", "name"),
        "creative": ("/creatives/1", "name"),
        "segment": (f"/segments/{segment}", "name"),
        "audience": (f"/campaigns/{campaign}/audience", "send_holdout"),
        "message": (f"/campaigns/{campaign}/message", "subject"),
        "choices": (f"/campaigns/{campaign}/offers", "default_landing"),
        "text": (f"/campaigns/{campaign}/text", "body-0"),
        "scenario": (f"/campaigns/{campaign}/scenarios/{scenario}", "name"),
        "timing": (f"/campaigns/{campaign}/schedule", "late-minutes"),
        "goal": (f"/campaigns/{campaign}/schedule", "window_days"),
    }


TYPED = {"name": ("Theirs", "Mine"), "send_holdout": ("5", "7"), "subject": ("Theirs", "Mine"),
         "body-0": ("Theirs", "Mine"), "late-minutes": ("30", "45"), "window_days": ("5", "9"),
         "default_landing": ("https://shop.example.com/theirs", "https://shop.example.com/mine")}  # fmt: skip


WRITTEN: dict[str, type[msgspec.Struct]] = {
    "offers": OfferIn, "creatives": CreativeIn, "segments": SegmentIn, "campaigns": CampaignIn,
}  # fmt: skip
PRESSED = {"timing": {"do": "timing"}, "goal": {"do": "goal"}}
"""Of a page with several forms, the button."""
PLACES = (
    "offer", "creative", "segment", "audience", "message", "choices", "text", "scenario", "timing", "goal",
)  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_a_later_save_undoes_no_earlier_one_unseen(web: Web, place: str) -> None:
    first, second = web.browser("manager"), web.browser("admin")
    path, field = places(web)[place]
    theirs, mine = TYPED[field]
    button = PRESSED.get(place, {})
    one, other = opened(first, path) | button, opened(second, path) | button
    assert posted(first, path, one | {field: theirs})[0] == 302
    status, page = posted(second, path, other | {field: mine})
    assert status == 409
    assert "A Person saved this" in page
    assert mine in page
    assert opened(first, path)[field].startswith(theirs), "what was saved stays"
    again = pressed(page) | button
    assert again[field] == mine
    assert again["edition"] != other["edition"]
    assert posted(second, path, again)[0] == 302, "knowingly it goes"
    assert opened(first, path)[field].startswith(mine)


def test_a_save_says_that_somebody_archived_it_meanwhile(web: Web) -> None:
    offer = web.shop.offer()
    browser = web.browser("manager")
    fields = opened(browser, f"/offers/{offer}")
    web.program("manager").told("DELETE", f"/offers/{offer}")
    status, page = posted(browser, f"/offers/{offer}", fields | {"name": "Renamed"})
    assert (status, "saved this" in page) == (409, True)


def test_it_stands_in_nobodys_way(web: Web) -> None:
    browser = web.browser("manager")
    path = f"/offers/{web.shop.offer()}"
    for turn in range(3):
        assert posted(browser, path, opened(browser, path) | {"name": f"Turn {turn}"})[0] == 302
    fields = opened(browser, path)
    assert posted(browser, path, fields | {"name": "Turn 2"})[0] == 302
    status, page = posted(browser, path, fields | {"name": "Once more"})
    assert status == 302, "the same was saved, so nothing is undone"
    status, page = posted(browser, path, fields | {"name": "From the page before"})
    assert (status, "You saved this" in page) == (409, True)


def test_a_fault_on_the_way_hides_no_earlier_save(web: Web) -> None:
    first, second = web.browser("manager"), web.browser("manager")
    path = f"/campaigns/{web.shop.campaign(published=False)}/message"
    one, other = opened(first, path), opened(second, path)
    status, page = posted(second, path, other | {"subject": ""})
    assert status == 400
    assert posted(first, path, one | {"subject": "Theirs"})[0] == 302
    shown = pressed(page)
    assert shown["edition"] == other["edition"]
    assert posted(second, path, shown | {"subject": "Mine"})[0] == 409


def test_the_word_of_what_was_typed_is_text_and_holds_no_secret(web: Web) -> None:
    browser = web.browser("manager")
    path = f"/offers/{web.shop.offer()}"
    fields: dict[str, Any] = opened(browser, path) | {"name": "<script>alert(1)</script>", "edition": "0" * 16}
    status, page = posted(browser, path, fields)
    assert status == 409
    assert "<script>alert" not in page
    assert "<script>alert(1)</script>" in unescape(page)
    assert not re.search(r"<dd[^>]*>0{16}</dd>", page)


@pytest.mark.parametrize("kind", ["offers", "creatives", "segments"])
def test_a_program_takes_away_only_what_it_has_read(web: Web, kind: str) -> None:
    program = web.program("manager")
    web.shop.send(web.shop.order("ann", "shoes", web.shop.now))
    segment = program.told("POST", "/segments", SEGMENT)["id"]
    design = program.told("GET", "/creatives/1")["document"]
    creative = program.told("POST", "/creatives", {"name": "Spare", "document": design})["id"]
    path = f"/{kind}/{ {'offers': web.shop.offer(), 'creatives': creative, 'segments': segment}[kind] }"
    read = program.call("GET", path)
    body = {name: value for name, value in answered(read).items() if name in WRITTEN[kind].__struct_fields__}
    newer = program.call("PUT", path, body | {"name": "First"}).headers["ETag"]
    listed = program.told("GET", f"/{kind}")
    assert program.call("DELETE", path, if_match=read.headers["ETag"]).status_code == 412
    assert program.told("GET", f"/{kind}") == listed
    # As a proxy that compresses answers has made it.
    assert program.call("DELETE", path, if_match=f"W/{newer}").status_code == 200
    assert len(program.told("GET", f"/{kind}")[kind]) == len(listed[kind]) - 1
    assert program.call("DELETE", f"/{kind}/99999", if_match=newer).status_code == 404


@pytest.mark.parametrize("kind", ["offers", "creatives", "segments", "campaigns"])
def test_a_program_changes_only_what_it_has_read(web: Web, kind: str) -> None:
    program = web.program("manager")
    web.shop.send(web.shop.order("ann", "shoes", web.shop.now))
    campaign = web.shop.campaign(published=False)
    segment = program.told("POST", "/segments", SEGMENT)["id"]
    number = {"offers": web.shop.offer(), "creatives": 1, "segments": segment, "campaigns": campaign}[kind]
    path = f"/{kind}/{number}"
    read = program.call("GET", path)
    edition = read.headers["ETag"]
    body = {name: value for name, value in answered(read).items() if name in WRITTEN[kind].__struct_fields__}

    def changed(name: str, edition: str | None) -> tuple[int, str | None]:
        answer = program.call("PUT", path, body | {"name": name}, edition)
        return answer.status_code, answer.headers.get("ETag")

    status, newer = changed("First", edition)
    assert (status, newer) == (200, program.call("GET", path).headers["ETag"])
    assert newer != edition
    for wrong in (edition, '"0"', "no tag", ""):
        assert changed("Second", wrong) == (412, None), wrong
    refusal = answered(program.call("PUT", path, body | {"name": "Second"}, edition), 412)
    assert (refusal["status"], refusal["title"]) == (412, "It was changed meanwhile")
    assert program.told("GET", path)["name"] == "First"
    assert (
        changed("Second", f"{edition}, W/{newer}")[0] == changed("Third", "*")[0] == changed("Fourth", None)[0] == 200
    )
    assert changed("First", None)[1] == newer, "the same contents are the same edition"
    if "ends_at" in body:
        body["ends_at"] = "2027-03-05T09:00:00+02:00"
        assert changed("Fifth", None)[1] == program.call("GET", path).headers["ETag"], "whatever zone it is told in"
    assert program.call("PUT", f"/{kind}/99999", body, edition).status_code == 404
    told = answered(web.stranger().get("/api/openapi.json"))["paths"][f"/api/v1/{kind}/{{{kind[:-1]}_id}}"]
    for method in {"put", "delete"} & told.keys():
        assert "If-Match" in [one["name"] for one in told[method]["parameters"] if not one["required"]]
        assert "412" in told[method]["responses"]
    assert "If-Match" not in [one["name"] for one in told["get"]["parameters"]]
    for method in ("get", "put"):
        assert "ETag" in told[method]["responses"]["200"]["headers"]
