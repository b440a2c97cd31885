"""The creative editor: every field of every layer has a place in the form, nothing typed is lost, faults stand beside
their field."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import fields as struct_fields
from sqlalchemy import select

from campaigns import creativeform, creatives, creativewords
from campaigns.api.catalogue import SampleName
from campaigns.creativeform import ITEMS, LAYERS
from campaigns.models import Creative as Row
from campaigns.samples import SAMPLES
from render.creative import Creative, Layer, Palette
from render.starting import STARTING
from render.validity import check
from tests.campaigns.test_pages import HOSTILE, Form
from tests.campaigns.test_pictures import uploaded
from tests.campaigns.web import Browser, Web, told
from tests.misbehaving import photo

KINDS = {**LAYERS, **ITEMS}


@pytest.mark.parametrize("kind", KINDS)
def test_it_has_words_and_a_form_field_for_every_field(kind: str) -> None:
    assert kind in creativewords.PARTS
    names = {entry.name.partition(".")[0] for entry in creativeform.entries(KINDS[kind], "L0")}
    told = {info.name for info in struct_fields(KINDS[kind])} - creativeform.RESOLVED_ONLY
    assert told - names == ({"items"} if creativeform.has_items(KINDS[kind]) else set())
    assert all(creativewords.label(kind, entry.name) for entry in creativeform.entries(KINDS[kind], "L0"))
    assert set(creativeform.GROUPS.values()) == {
        info.name for info in struct_fields(Creative) if info.type == tuple[Layer, ...]
    }
    assert set(creativewords.ROLES) == {info.name for info in struct_fields(Palette)}


@pytest.mark.parametrize("creative", STARTING, ids=lambda one: str(one.name))
def test_it_writes_what_it_read(creative: Creative) -> None:
    stored = msgspec.to_builtins(creative)
    document = creativeform.document(creativeform.draft_of(creative.name, stored))
    assert msgspec.structs.replace(creatives.read(creative.name, document), id=creative.id) == creative


def test_it_names_the_field_of_a_fault_wherever_it_lies() -> None:
    named = {
        "creative.width": "width", "creative.palette_dark.ink": "dark.ink", "creative.layers[2].box": "L2.box.x",
        "creative.layers[1].items[0].text": "L1.I0.text", "creative.over[3].colour": "O3.colour",
        "creative.layers": "layers", "creative.layers[1].items": "L1.items",
    }  # fmt: skip
    assert {path: creativeform.form_field(path) for path in named} == named


@pytest.mark.parametrize("kind", KINDS)
def test_it_adds_parts_that_can_be_drawn_as_they_are(kind: str) -> None:
    draft = creativeform.draft_of("New", msgspec.to_builtins(STARTING[0]))
    column = next(n for n, layer in enumerate(draft.layers) if layer.items)
    creativeform.acted(draft, f"add:L:{kind}" if kind in LAYERS else f"add:L{column}:{kind}")
    parts = draft.layers if kind in LAYERS else draft.layers[column].items
    assert parts[-1].kind == kind
    check(creatives.read("New", creativeform.document(draft)))


@settings(max_examples=200)
@given(st.lists(st.from_regex(r"(add|up|down|remove):[LO](\d(\.I\d)?)?(:(text|column|art|nonsense))?", fullmatch=True)))
def test_it_never_breaks_on_what_buttons_say(actions: list[str]) -> None:
    draft = creativeform.draft_of("New", msgspec.to_builtins(STARTING[0]))
    for action in actions:
        creativeform.acted(draft, action)
        assert len(draft.layers) <= 24
        assert all(len(layer.items) <= 12 for layer in draft.layers)


def test_it_moves_and_removes_layers_and_items() -> None:
    draft = creativeform.draft_of("New", msgspec.to_builtins(STARTING[0]))
    kinds = [layer.kind for layer in draft.layers]
    creativeform.acted(draft, "down:L0")
    creativeform.acted(draft, "up:L0")
    assert [layer.kind for layer in draft.layers] == [kinds[1], kinds[0], *kinds[2:]]
    creativeform.acted(draft, "remove:L0")
    assert [layer.kind for layer in draft.layers] == [kinds[0], *kinds[2:]]
    column = next(n for n, layer in enumerate(draft.layers) if layer.items)
    items = [item.kind for item in draft.layers[column].items]
    creativeform.acted(draft, f"remove:L{column}.I0")
    assert [item.kind for item in draft.layers[column].items] == items[1:]


def fields(browser: Browser, path: str) -> dict[str, str]:
    """The editor's fields as they stand in the page."""
    found = Form(browser.get(path).text).fields
    return {name: value for name, value in found.items() if not name.startswith("focus") and name != "do"}


def named(web: Web, name: str) -> Row:
    with web.shop.sessions.begin() as session:
        return session.scalars(select(Row).where(Row.name == name)).one()


def test_it_makes_a_creative_by_plain_forms(web: Web) -> None:
    browser = web.desk("manager")
    start = named(web, "Restock discount")
    form = fields(browser, f"/creatives/new?from={start.id}")
    answer = browser.post("/creatives/new", **(form | {"do": "add:L:badge"}))
    assert answer.status_code == 200
    form = {name: value for name, value in Form(answer.text).fields.items() if name != "do"}
    number = max(int(name[1 : name.index(".")]) for name in form if name.startswith("L") and name.endswith(".type"))
    form |= {f"L{number}.text": "Hello {{ profile.first_name }}", "name": "Mine", "dark.ink": "#abcdef"}
    answer = browser.post("/creatives/new", **(form | {"do": "save"}))
    assert answer.status_code == 302
    row = named(web, "Mine")
    assert row.document["layers"][number]["text"] == "Hello {{ profile.first_name }}"
    assert row.document["palette_dark"]["ink"] == "#abcdef"
    assert answer.headers["Location"] == f"/creatives/{row.id}"
    assert fields(browser, f"/creatives/{row.id}")["name"] == "Mine"
    assert browser.post(f"/creatives/{row.id}/archive").status_code == 302
    assert "Mine" not in browser.get("/creatives/").text


WRONG = [
    ("width", "wide", "must be a number"),
    ("width", "5000", "must be from 20 to 1200 pixels"),
    ("L0.colour", "reddish", "is not a colour"),
    ("light.ink", "reddish", "is neither #rrggbb nor a scheme colour"),
    ("text", "{% for a in b %}x{% endfor %}", "uses for, which is not allowed"),
    ("text", "{{ profile.first_name", "is not a valid template"),
    ("text", "{{ cycler() }}", "which is not allowed"),
    ("size", "1e9", "must be a number"),
    ("size", "7", "must be from 8 to 200"),
    ("box.x", "590", "must lie within"),
]


def test_it_shows_every_fault_beside_its_field_and_keeps_what_was_typed(web: Web) -> None:
    browser = web.desk("manager")
    row = named(web, "Restock discount")
    form = fields(browser, f"/creatives/{row.id}")
    for name, typed, reason in WRONG:
        path = next(path for path in form if path == name or path.endswith(f".{name}"))
        answer = browser.post(f"/creatives/{row.id}", **(form | {path: typed, "do": "save"}))
        assert answer.status_code == 400, (path, typed)
        assert (
            f'id="e-f-{path.replace(".", "-")}">' in answer.text or f">{reason}" in answer.text or reason in answer.text
        )
        shown = Form(answer.text).fields
        assert shown[path] == typed
        assert "is-invalid" in answer.text, path
        assert "It can be drawn again when this is put right" in answer.text
    assert named(web, "Restock discount").document == row.document


def test_it_draws_what_is_typed_in_light_and_dark(web: Web) -> None:
    browser = web.desk("manager")
    form = fields(browser, f"/creatives/{named(web, 'Restock discount').id}")
    first = browser.post("/creatives/preview", **form).text
    assert first.count("data:image/jpeg;base64,") == 2
    assert browser.post("/creatives/preview", **(form | {"sample": "ar"})).text != first
    assert browser.post("/creatives/preview", **(form | {"light.surface": "#ff0000"})).text != first


def test_it_focuses_a_background_where_it_is_clicked(web: Web) -> None:
    browser = web.desk("manager")
    uploaded(browser, photo(900, 600))
    digest = web.program("manager").told("GET", "/pictures")["pictures"][0]["digest"]
    row = named(web, "Restock discount")
    form = fields(browser, f"/creatives/{row.id}")
    answer = browser.post(f"/creatives/{row.id}", **(form | {"L0.picture": digest, "do": "redraw"}))
    assert 'name="focus.L0"' in answer.text
    answer = browser.post(
        f"/creatives/{row.id}", **(form | {"L0.picture": digest, "focus.L0.x": "90", "focus.L0.y": "180"})
    )
    shown = Form(answer.text).fields
    assert (shown["L0.focus_x"], shown["L0.focus_y"], shown["L0.picture"]) == ("0.25", "0.75", digest)


def test_it_begins_with_the_focus_of_a_picture_that_is_chosen(web: Web) -> None:
    browser, api = web.desk("manager"), web.program("manager")
    uploaded(browser, photo(900, 600))
    picture = api.told("PUT", "/pictures/1", {"name": "Beach", "focus": {"x": 0.1, "y": 0.9}})
    at = f"/creatives/{named(web, 'Restock discount').id}"
    form = fields(browser, at) | {"L0.picture": picture["digest"]}
    browser.post(at, **(form | {"do": "save"}))
    layer = named(web, "Restock discount").document["layers"][0]
    assert (layer["picture"], layer["focus_x"], layer["focus_y"]) == (picture["digest"], 0.1, 0.9)
    browser.post(at, **(fields(browser, at) | {"L0.focus_x": "0.3", "do": "save"}))
    assert named(web, "Restock discount").document["layers"][0]["focus_x"] == 0.3


def test_it_draws_by_program_what_the_pages_draw(web: Web) -> None:
    assert set(get_args(SampleName)) == set(SAMPLES)
    browser, api = web.desk("manager"), web.program("manager")
    row = named(web, "Restock discount")
    kept = api.call("GET", f"/creatives/{row.id}/picture?sample=ar&dark=true&scale=1")
    assert kept.data == browser.get(f"/creatives/{row.id}/picture.jpg?sample=ar&dark=1&scale=1").data
    look = {"sample": "ar", "dark": True, "scale": 1}
    assert api.call("POST", "/creatives/draw", {"name": "x", "document": row.document, "look": look}).data == kept.data
    refused = told(api.call("POST", "/creatives/draw", {"name": "x", "document": row.document | {"width": 1}}), 400)
    assert refused["field"] == "creative.width"


def test_it_never_breaks_on_what_is_typed(web: Web) -> None:
    browser = web.desk("manager")
    row = named(web, "Restock discount")
    form = fields(browser, f"/creatives/{row.id}")
    for turn, value in enumerate(HOSTILE):
        one = list(form)[turn * 7 % len(form)]
        typed: dict[str, Any] = form | {one: value, "csrf_token": browser.token}
        for target, do in ((f"/creatives/{row.id}", value), ("/creatives/preview", "")):
            assert browser.post(target, **(typed | {"do": do, "focus.L0.x": value})).status_code < 500, (one, value)


def test_it_shows_a_gallery_of_everything(web: Web) -> None:
    browser = web.desk("manager")
    page = browser.get("/creatives/gallery").text
    assert page.count("<img") == 6 * len(SAMPLES) * 2
    assert page.count('loading="lazy"') == page.count("<img")
    assert "start=6" in page
    assert browser.get("/creatives/gallery?family=neutral&sample=ar&scale=1").text.count("<img") == 2 * sum(
        creative.family == "neutral" for creative in STARTING
    )
    number = named(web, "Restock discount").id
    seen = set()
    for query in ("", "?dark=1", "?scale=1", "?sample=ar", "?sample=long&dark=1", "?sample=bare"):
        answer = browser.get(f"/creatives/{number}/picture.jpg{query}")
        assert answer.mimetype == "image/jpeg"
        seen.add(answer.data)
    assert len(seen) == 6
    assert browser.get(f"/creatives/{number}/picture.jpg?sample=nonsense").data in seen
