"""The page of the tracking plan."""

from __future__ import annotations

import re
from html import unescape

from sqlalchemy import text

from tests.campaigns.shop import Shop
from tests.campaigns.web import Web


def test_it_plans_events_on_the_page(shop: Shop, web: Web) -> None:
    desk, program = web.desk("admin"), web.program("admin")
    desk.get("/system/tracking-plan/")
    form = {"name": "Fitting Booked", "strict": "1", "p0": "size", "type0": "text", "required0": "1",
            "values0": "S, M", "p3": "height", "type3": "number", "least3": "50", "most3": "250"}  # fmt: skip
    assert desk.post("/system/tracking-plan/", **form).status_code == 302
    (event,) = program.told("GET", "/tracking-plan")["events"]
    assert event["definition"]["strict"] is True
    assert event["definition"]["properties"]["height"]["most"] == 250
    page = desk.get(f"/system/tracking-plan/?event={event['id']}").text
    for words in ('value="S, M"', 'value="250"', "one of S, M"):
        assert words in page, words
    for field, bad in (
        ("values1", {"p1": "n", "type1": "whole", "values1": "x"}),
        ("least1", {"p1": "n", "least1": "x"}),
        ("type1", {"p1": "n", "type1": "odd"}),
        ("p1", {"p1": "size"}),
        ("p2", {"least2": "5"}),
        ("p3", {"least3": "251"}),
        ("p0", {"most0": "1"}),
        ("name", {"name": ""}),
        ("values1", {"p1": "n", "values1": 'blue, "red, large'}),
        ("values1", {"p1": "n", "values1": '"red" large'}),
        ("p1", {"p1": "n" * 201}),
        ("p1", {"p1": "n", "type1": "number", "values1": "1, nan"}),
        ("p1", {"p1": "n", "type1": "number", "values1": "1e400"}),
        ("p1", {"p1": "n", "type1": "text", "values1": ",".join(f"v{number}" for number in range(101))}),
    ):
        answer = desk.post("/system/tracking-plan/", **(form | bad))
        assert (answer.status_code, 'role="alert"' in answer.text) == (400, True), field
        (control,) = re.findall(r'<(?:input|select)[^>]*aria-invalid="true"[^>]*>', answer.text)
        assert f' name="{field}"' in control
    assert desk.post(f"/system/tracking-plan/sources/{shop.source.id}", closed="1").status_code == 302
    assert "planned events only" in desk.get("/system/tracking-plan/").text
    assert desk.post(f"/system/tracking-plan/{event['id']}/remove").status_code == 302
    assert program.told("GET", "/tracking-plan")["events"] == []
    assert program.call("DELETE", f"/tracking-plan/{event['id']}").status_code == 404


def test_a_damaged_planned_event_is_listed_and_can_be_removed(shop: Shop, web: Web) -> None:
    desk, program = web.desk("admin"), web.program("admin")
    fine, bad = (
        program.told("PUT", "/tracking-plan", {"name": name, "definition": {"strict": True}})["id"]
        for name in ("Fitting Booked", "Fitting Missed")
    )
    with shop.sessions.begin() as session:
        session.execute(text("UPDATE planned_event SET definition = '{\"strict\": 5}' WHERE id = :id"), {"id": bad})
    events = program.told("GET", "/tracking-plan")["events"]
    assert [(event["id"], event["definition"] is None) for event in events] == [(fine, False), (bad, True)]
    for path in ("/system/tracking-plan/", f"/system/tracking-plan/?event={bad}"):
        assert desk.get(path).text.count("Damaged where it is stored") == 1
    assert 'value="Fitting Missed"' in desk.get(f"/system/tracking-plan/?event={bad}").text
    assert desk.post(f"/system/tracking-plan/{bad}/remove").status_code == 302
    assert "Damaged" not in desk.get("/system/tracking-plan/").text


def test_values_with_commas_and_quotes_are_saved_as_they_were(web: Web) -> None:
    desk, program = web.desk("admin"), web.program("admin")
    values = ["red, large", "blue", '5" pipe', '"', " wide ", "", ",", "süß; sauer"]
    numbers = {"type": "number", "values": [0.1, 2]}
    wanted = {"properties": {"size": {"type": "text", "values": values}, "tall": numbers}}
    made = program.told("PUT", "/tracking-plan", {"name": "Fitting Booked", "definition": wanted})
    page = desk.get(f"/system/tracking-plan/?event={made['id']}").text
    assert 'one of "red, large", blue' in unescape(page)
    typed = {name: unescape(found[1]) for name in ("values0", "values1")
             if (found := re.search(rf'name="{name}" value="([^"]*)"', page))}  # fmt: skip
    form = {"name": "Fitting Booked", "p0": "size", "type0": "text", "p1": "tall", "type1": "number"} | typed
    assert desk.post("/system/tracking-plan/", **form).status_code == 302
    (event,) = program.told("GET", "/tracking-plan")["events"]
    assert event["definition"]["properties"]["size"]["values"] == values
    assert event["definition"]["properties"]["tall"]["values"] == [0.1, 2]


def test_as_many_and_as_long_values_as_may_be_planned_are_saved_again(web: Web) -> None:
    desk, program = web.desk("admin"), web.program("admin")
    values = [f"{number:03}".ljust(200, '"') for number in range(100)]
    wanted = {"properties": {"size": {"type": "text", "values": values}}}
    made = program.told("PUT", "/tracking-plan", {"name": "Fitting Booked", "definition": wanted})
    (typed,) = re.findall(
        r'name="values0" value="([^"]*)"', desk.get(f"/system/tracking-plan/?event={made['id']}").text
    )
    form = {"name": "Fitting Booked", "p0": "size", "type0": "text", "values0": unescape(typed)}
    assert desk.post("/system/tracking-plan/", **form).status_code == 302
    (event,) = program.told("GET", "/tracking-plan")["events"]
    assert event["definition"]["properties"]["size"]["values"] == values


def test_bounds_of_a_planned_property_are_written_as_people_write_numbers(shop: Shop, web: Web) -> None:
    bounds = {"price": {"type": "number", "least": 0, "most": 2_500_000}}
    made = web.program("admin").told(
        "PUT", "/tracking-plan", {"name": "Bid", "definition": {"properties": bounds, "strict": False}}
    )
    page = web.desk("admin").get(f"/system/tracking-plan/?event={made['id']}").text
    assert ", from 0, up to 2500000" in page
    assert 'value="2500000"' in page
