"""The intake over HTTP: who may call, what is refused and how clearly, what a bad event does to its batch."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text
from werkzeug.test import TestResponse

from base.settings import Settings
from signals import requests
from signals.app import create_app
from tests.signals.sending import NOW, Desk, call, clocked, order, viewed


@pytest.fixture
def http(desk: Desk, settings: Settings, tmp_path: Path) -> Iterator[FlaskClient]:
    """The app on the desk's database, its clock standing at NOW."""
    app = create_app(clocked(settings, desk, tmp_path))
    yield app.test_client()
    app.extensions["signals"].close()


def key(name: str) -> dict[str, str]:
    """The header of a write key."""
    return {"Authorization": "Basic " + b64encode(f"{name}:".encode()).decode()}


def post(http: FlaskClient, path: str, body: Any, name: str = "shop", **headers: str) -> TestResponse:
    """POST bytes as they are, anything else as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http.post(path, data=data, headers=key(name) | headers, content_type="application/json")


def field(response: TestResponse) -> str:
    """The field an answer blames."""
    assert response.json is not None
    return str(response.json["error"]["field"])


def test_it_takes_a_single_call(http: FlaskClient, desk: Desk) -> None:
    event = order("u1", "o1", ("p1", "Shoes", 10.0))
    del event["type"]

    assert post(http, "/v1/track", event).json == {"success": True, "status": "accepted"}
    assert post(http, "/v1/track", event).json == {"success": True, "status": "duplicate"}
    assert desk.state(desk.root("user_id", "u1")).orders == 1


def test_it_takes_the_key_from_the_header_or_the_body_and_from_nowhere_else(http: FlaskClient) -> None:
    event = viewed("Shoes", anonymousId="a")

    assert http.post("/v1/track", json=event).status_code == 401
    assert http.post("/v1/track?writeKey=shop", json=event).status_code == 401
    assert http.post("/v1/track", json=event | {"writeKey": "shop"}).status_code == 200
    assert (
        http.post("/v1/batch", json={"batch": [viewed("Hats", anonymousId="a")], "writeKey": "shop"}).status_code == 200
    )
    assert post(http, "/v1/track", event, name="stranger").status_code == 401
    assert http.post("/v1/track", json=event, headers={"Authorization": "Basic %%%"}).status_code == 401
    half = b'{"batch": [{"type": "track", "userId": "u", "event": "\\ud800"}], "writeKey": "\\ud800"}'
    assert http.post("/v1/batch", data=half).status_code == 401


@pytest.mark.feature("DE-31")
def test_it_keeps_the_good_events_of_a_batch_and_names_the_field_of_each_bad_one(http: FlaskClient, desk: Desk) -> None:
    dear = {"product_id": "p", "price": "dear"}
    batch = [
        order("u1", "o1", ("p1", "Shoes", 10.0)),
        call("track", event="Product Viewed"),
        call(
            "track",
            event="Order Completed",
            userId="u1",
            properties={"order_id": "o2", "products": [dear]},
        ),
        call("walk", userId="u1"),
        order("u1", "o3", ("p1", "Shoes", 10.0), time="2031-01-01T00:00:00Z"),
        "not an event",
        order("u2", "o4", ("p1", "Shoes", 10.0)),
    ]
    answer = post(http, "/v1/batch", {"batch": batch, "sentAt": NOW.isoformat()})

    assert answer.status_code == 200
    assert answer.json is not None
    assert answer.json["accepted"] == 2
    assert [(bad["index"], bad["field"]) for bad in answer.json["rejected"]] == [
        (1, "userId"),
        (2, "properties.products[0].price"),
        (3, "type"),
        (4, "timestamp"),
        (5, ""),
    ]
    assert desk.rows("SELECT field, reason FROM rejected_event ORDER BY id")[1] == (
        "properties.products[0].price",
        "invalid",
    )
    assert desk.rows("SELECT order_id FROM event ORDER BY id") == [("o1",), ("o4",)]


BAD_CALLS: tuple[tuple[bytes, str], ...] = (
    (rb'"event": "x\u0000y"', "event"),
    (rb'"event": "x", "properties": {"a": {"b\u0000": 1}}', "properties.a"),
    (b'"event": "\xff\xfe"', ""),
    (b'"event": "x", "properties": ' + b"[" * 5000 + b"]" * 5000, ""),
    (b'"event": "x", "properties": {"a": ' + b"[" * 20 + b"]" * 20 + b"}", "properties.a" + "[0]" * 10),
    (b'"event": "x", "properties": "p"', "properties"),
    (b'"event": "x", "userId": true', "userId"),
    (b'"event": "x", "userId": "' + b"u" * 201 + b'"', "userId"),
    (b'"event": "x", "userId": "", "anonymousId": null', "userId"),
    (b'"event": 7', "event"),
    (b'"messageId": "m"', "event"),
    (b'"event": "x", "messageId": 5', "messageId"),
    (b'"event": "x", "timestamp": "yesterday"', "timestamp"),
    (b'"event": "x", "timestamp": "2026-03-01T10:00:00"', "timestamp"),
    (b'"event": "x", "timestamp": "1970-01-01T00:00:00Z"', "timestamp"),
    (b'"event": "x", "timestamp": 1772359200', "timestamp"),
    (b'"event": "x", "type": "page"', "type"),
    (b'"event": "Order Completed", "properties": {"total": 3}', "properties.order_id"),
    (b'"event": "Order Completed", "properties": {"order_id": "1", "products": {}}', "properties.products"),
    (b'"event": "Order Completed", "properties": {"order_id": "1", "total": -3}', "properties.total"),
    (b'"event": "Order Refunded", "properties": {"order_id": "1", "total": 0}', "properties.total"),
    (
        b'"event": "Order Refunded", "properties": {"order_id": "1", "value": "0", "products": []}',
        "properties.value",
    ),
    (b'"event": "Product Viewed", "properties": {"product_id": "1", "quantity": 1e9}', "properties.quantity"),
    (b'"event": "Consent Changed", "properties": {"purpose": "email", "granted": "yes"}', "properties.granted"),
    (b'"event": "Consent Changed", "properties": {"purpose": "cake", "granted": true}', "properties.purpose"),
)
"""Members of a call's object that make it wrong, and the field to blame."""


@pytest.mark.feature("DE-31")
@pytest.mark.parametrize(
    ("body", "blamed"),
    [*((b'{"userId": "u", ' + members + b"}", blamed) for members, blamed in BAD_CALLS), (b"[]", ""), (b"", "")],
)
def test_it_refuses_bad_input_and_names_the_field(http: FlaskClient, desk: Desk, body: bytes, blamed: str) -> None:
    answer = post(http, "/v1/track", body)

    assert (answer.status_code, field(answer)) == (400, blamed)
    assert desk.rows("SELECT count(*) FROM event") == [(0,)]
    assert desk.rows("SELECT field FROM rejected_event") == [(blamed,)]


def test_it_keeps_a_batch_with_broken_text_in_one_event(http: FlaskClient, desk: Desk) -> None:
    good = json.dumps(viewed("Shoes", userId="u1")).encode()
    answer = post(
        http, "/v1/batch", b'{"batch": [' + good + b', {"type": "track", "userId": "u", "event": "\\ud800"}]}'
    )
    assert answer.json is not None
    assert (answer.json["accepted"], answer.json["rejected"][0]["index"]) == (1, 1)

    good = json.dumps(viewed("Shoes", userId="u1")).encode()
    answer = post(http, "/v1/batch", b'{"batch": [' + good + b', {"type": "track", "userId": "u", "event": "\xff"}]}')
    assert answer.json is not None
    assert (answer.json["accepted"], answer.json["rejected"][0]["index"]) == (1, 1)


def test_calls_of_a_batch_have_its_context_where_they_have_none_of_their_own(http: FlaskClient, desk: Desk) -> None:
    shared = {
        "context": {"campaign": {"medium": "email"}, "timezone": "Europe/Vienna", "ip": "192.0.2.1"},
        "integrations": {"All": False, "Mixpanel": True},
    }
    plain, spoken = order("u1", "o1", ("p1", "Shoes", 10.0)), order("u2", "o2", ("p1", "Shoes", 10.0))
    own = {"campaign": {"name": "till"}, "timezone": "Europe/Paris"}
    batch = [plain | {"context": None}, spoken | {"context": own, "integrations": {"All": True}}]
    answer = post(http, "/v1/batch", shared | {"batch": batch})
    assert (answer.status_code, answer.json and answer.json["accepted"]) == (200, 2)
    first, second = (body for (body,) in desk.rows("SELECT body FROM event ORDER BY order_id"))
    assert {field: first[field] for field in shared} == shared
    assert second["context"] == own | {"ip": "192.0.2.1"}
    assert second["integrations"] == {"All": True, "Mixpanel": True}
    assert desk.rows("SELECT figures #>> '{context,timezone}' FROM event ORDER BY order_id") == [
        ("Europe/Vienna",), ("Europe/Paris",),
    ]  # fmt: skip
    # The same call sent alone is a repeat: what is shared makes no other call of it.
    assert post(http, "/v1/track", plain).json == {"success": True, "status": "duplicate"}


def test_a_batch_that_shares_what_it_cannot_loses_no_more_than_it_must(http: FlaskClient, desk: Desk) -> None:
    good = viewed("Shoes", userId="u1")
    for field_, wrong in (("context", []), ("integrations", "all"), ("context", {"page": "x" * requests.SHARED_BYTES})):
        answer = post(http, "/v1/batch", {"batch": [good], field_: wrong})
        assert (answer.status_code, field(answer)) == (400, field_)
    shared = {"context": {"timezone": "Europe/Vienna"}}
    answer = post(http, "/v1/batch", shared | {"batch": ["no call", good | {"context": "odd"}, good]})
    assert answer.json is not None
    assert [(bad["index"], bad["field"]) for bad in answer.json["rejected"]] == [(0, ""), (1, "context")]
    broken = b', {"type": "track", "userId": "u", "event": "\\ud800"}], "context": {"timezone": "Asia/Tokyo"}}'
    told = json.dumps(viewed("Shoes", userId="u2")).encode()
    answer = post(http, "/v1/batch", b'{"batch": [' + told + broken)
    assert answer.json is not None
    assert (answer.json["accepted"], answer.json["rejected"][0]["index"]) == (1, 1)
    assert desk.rows("SELECT figures #>> '{context,timezone}' FROM event ORDER BY id") == [
        ("Europe/Vienna",), ("Asia/Tokyo",),
    ]  # fmt: skip


def test_it_reads_gzip_within_bounds(http: FlaskClient) -> None:
    event = json.dumps(viewed("Shoes", userId="u1")).encode()
    packed = {"Content-Encoding": "gzip"}

    assert post(http, "/v1/track", gzip.compress(event), **packed).status_code == 200
    assert post(http, "/v1/track", event, **packed).status_code == 400
    assert post(http, "/v1/track", gzip.compress(event)[:-9], **packed).status_code == 400
    assert post(http, "/v1/track", gzip.compress(event) + b"more", **packed).status_code == 400
    two = gzip.compress(event[:20]) + gzip.compress(event[20:])
    assert post(http, "/v1/track", two, **packed).status_code == 200, "it may be put together from several"
    assert post(http, "/v1/track", gzip.compress(b"") * (requests.MEMBERS + 1), **packed).status_code == 400
    assert post(http, "/v1/track", gzip.compress(b" " * (requests.UNPACKED_BYTES + 1)), **packed).status_code == 413
    assert post(http, "/v1/track", event, **{"Content-Encoding": "br"}).status_code == 415


@pytest.mark.feature("DE-35")
@pytest.mark.parametrize(
    ("path", "said", "named"),
    [
        ("/v1/track", order("u1", "o1", ("p", "Shoes", 1.0)) | {"anonymousId": "a1"}, "event"),
        ("/v1/track", viewed("Shoes", userId="u1"), "anonymousId"),
        ("/v1/identify", {"anonymousId": "a1", "traits": {"email": "ann@example.com"}}, "traits.email"),
    ],
)
def test_it_forbids_a_browser_what_only_a_server_may_say(
    http: FlaskClient, path: str, said: dict[str, Any], named: str
) -> None:
    refused = post(http, path, said, "site")
    assert (refused.status_code, field(refused)) == (403, named)


BIG = 10**400


@pytest.mark.parametrize(
    "call",
    [
        {"event": "Order Completed", "properties": {"order_id": "o1", "total": BIG}},
        {"event": "Order Completed", "properties": {"order_id": "o1", "products": [{"sku": "a", "quantity": BIG}]}},
        {"event": "Order Completed", "properties": {"order_id": "o1", "products": [{"sku": "a", "price": BIG}]}},
        {"event": "Product Reviewed", "properties": {"product_id": "a", "rating": BIG}},
        {"event": "Product Viewed", "properties": {"productId": "a", "quantity": BIG}},
        {"event": "Survey Answered", "properties": {"score": BIG, "survey_id": BIG}},
        {"event": "Consent Changed", "properties": {"purpose": ["email"], "granted": True}},
        {"event": "Consent Changed", "properties": {"purpose": {}, "granted": True}},
        {"event": "Anything", "properties": {"x": BIG}},
        {"type": "page", "event": None, "properties": {"products": [{"product_id": "p1"}, "p1", 5]}},
        {"type": "identify", "event": None, "traits": {"age": BIG, "address": {"zip": BIG}}},
    ],
)
def test_it_answers_for_one_strange_event_without_losing_the_others(
    http: FlaskClient, desk: Desk, call: dict[str, Any]
) -> None:
    desk.feed({"id": "p1", "title": "Runner", "price": "79.50 EUR", "product_type": "Shoes"})
    strange = {"type": "track", "userId": "u1", "messageId": "strange"} | call
    answer = post(http, "/v1/batch", {"batch": [strange, viewed("Shoes", userId="u1")]})
    assert answer.status_code == 200, answer.text
    assert answer.json is not None
    assert answer.json["accepted"] + len(answer.json["rejected"]) == 2
    assert 1 not in [bad["index"] for bad in answer.json["rejected"]]


def test_it_refuses_bodies_events_and_batches_that_are_too_large(http: FlaskClient) -> None:
    assert post(http, "/v1/batch", b" " * (requests.BODY_BYTES + 1)).status_code == 413
    large = viewed("Shoes", userId="u1", context={"page": "x" * 70_000})
    assert post(http, "/v1/track", large).status_code == 400
    many: dict[str, list[object]] = {"batch": [{}] * (requests.BATCH + 1)}
    assert field(post(http, "/v1/batch", many)) == "batch"
    assert field(post(http, "/v1/batch", {"batch": {}})) == "batch"
    assert post(http, "/v1/batch", b'{"batch": [').status_code == 400
    assert post(http, "/v1/batch", b'{"batch": ' + b"[" * 200_000).status_code == 400


def test_it_corrects_the_clock_of_a_sender_that_is_days_wrong(http: FlaskClient, desk: Desk) -> None:
    wrong = timedelta(days=400)
    bought = (NOW - timedelta(hours=2) + wrong).isoformat()
    post(
        http,
        "/v1/batch",
        {"batch": [order("u1", "o1", ("p", "Shoes", 1.0), time=bought)], "sentAt": (NOW + wrong).isoformat()},
    )
    near = (NOW - timedelta(hours=1)).isoformat()
    post(
        http,
        "/v1/batch",
        {
            "batch": [order("u1", "o2", ("p", "Shoes", 1.0), time=near)],
            "sentAt": (NOW - timedelta(seconds=3)).isoformat(),
        },
    )

    assert desk.rows("SELECT event_time FROM event ORDER BY id") == [
        (NOW - timedelta(hours=2),),
        (NOW - timedelta(hours=1),),
    ]


def test_it_takes_explicit_nulls_offsets_and_unknown_keys(http: FlaskClient, desk: Desk) -> None:
    line = {"sku": "s", "category": None, "price": "9.90", "quantity": None}
    event = {
        "type": "track", "event": "Order Completed", "userId": 17, "anonymousId": None, "context": None,
        "messageId": None, "properties": {"order_id": 5, "category": None, "products": [line]},
        "timestamp": "2026-03-01T12:00:00.123456+02:00", "integrations": {"All": True}, "surprise": [1, {"two": 3}],
    }  # fmt: skip

    assert post(http, "/v1/track", event).status_code == 200
    assert post(http, "/v1/page", {"anonymousId": "a9"}).status_code == 200
    assert desk.rows("SELECT event_time::text, order_id FROM event ORDER BY id LIMIT 1") == [
        ("2026-03-01 10:00:00.123+00", "5")
    ]
    assert desk.state(desk.root("user_id", "17")).orders == 1


def test_it_answers_browsers_across_origins_and_holds_them_to_the_list(http: FlaskClient, desk: Desk) -> None:
    with desk.sessions.begin() as session:
        from signals.sources import create_source

        create_source(session, "listed", "browser", NOW, write_key="listed", origins=["https://shop.example.com"])
    asked = http.options("/v1/track", headers={"Origin": "https://shop.example.com"})
    assert asked.headers["Access-Control-Allow-Origin"] == "https://shop.example.com"

    event = viewed("Shoes", anonymousId="a1")
    assert post(http, "/v1/track", event, "listed", Origin="https://shop.example.com").status_code == 200
    assert post(http, "/v1/track", event, "listed", Origin="https://else.example.com").status_code == 403


SHORT = [("i", "identify"), ("t", "track"), ("p", "page"), ("s", "screen"), ("g", "group")]


def test_it_takes_what_segments_browser_sdk_sends(http: FlaskClient, desk: Desk) -> None:
    site = "https://shop.example.com"

    def sent(path: str, body: dict[str, Any]) -> tuple[int, str | None]:
        """As the SDK sends: as plain text, the key in the header too, from a page of the shop."""
        answer = http.post(
            path, data=json.dumps(body), headers=key("site") | {"Origin": site}, content_type="text/plain"
        )
        return answer.status_code, answer.headers.get("Access-Control-Allow-Origin")

    asked = {"Origin": site, "Access-Control-Request-Headers": "authorization,x-retry-count"}
    before = http.options("/v1/t", headers=asked)
    assert before.headers["Access-Control-Allow-Headers"] == "authorization,x-retry-count"
    for short, type_ in SHORT:
        body = {"anonymousId": "a1", "event": "Product Viewed", "groupId": "g1", "messageId": short, "writeKey": "site"}
        assert sent(f"/v1/{short}", body | {"type": type_}) == (200, site)
    tied = {"anonymousId": "a1", "previousId": "a1", "userId": "u1"}
    assert post(http, "/v1/a", tied).status_code == 200
    for path in ("/v1/b", "/v1/import"):
        assert sent(path, {"batch": [call("track", event=path, anonymousId="a1")]}) == (200, site)
    assert sent("/v1/m", {"series": [{"type": "Counter", "metric": "analytics_js.invoke"}]}) == (200, site)

    assert [type_ for (type_,) in desk.rows("SELECT type FROM event ORDER BY id")] == [
        "identify", "track", "page", "screen", "group", "alias", "track", "track",
    ]  # fmt: skip
    told = http.get("/metrics").text
    assert 'latebind_signals_seconds_count{call="page",status="200"} 1.0' in told


def test_it_is_not_ready_at_an_older_schema_and_stays_so_beside_a_newer(
    settings: Settings, desk: Desk, tmp_path: Path
) -> None:
    with desk.sessions.begin() as session:
        newest = str(session.execute(text("SELECT version_num FROM alembic_version")).scalar_one())

    def answer_at(revision: str) -> TestResponse:
        with desk.sessions.begin() as session:
            session.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
        return client.get("/readyz")

    app = create_app(clocked(settings, desk, tmp_path))
    client = app.test_client()
    refused = answer_at("0001")
    assert refused.status_code == 503
    assert "schema 0001, which is older: run `latebind migrate`" in refused.text
    assert answer_at("9999").status_code == 200, "a newer one was migrated for the next version"
    assert answer_at(newest).status_code == 200
    app.extensions["signals"].close()


def test_it_shows_health_and_counters_and_refuses_other_methods(http: FlaskClient) -> None:
    assert http.get("/healthz").status_code == 200
    assert http.get("/readyz").status_code == 200
    post(http, "/v1/track", viewed("Shoes", userId="u1"))
    assert 'latebind_signals_events_total{outcome="accepted"} 1.0' in http.get("/metrics").text
    refused = http.get("/v1/track")
    assert refused.status_code == 405
    assert "POST" in refused.headers["Allow"]
    assert http.get("/nothing").status_code == 404
