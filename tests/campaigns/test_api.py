"""The API: its document, its answers to whatever a program may send, and that a refusal names the field."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from base import keys
from campaigns import keyring
from campaigns.api.desk import Document, Schemas
from render.access import Keyring
from render.hotcluster import hot_store
from tests.api_page import operation_of
from tests.campaigns.web import PASSWORD, Web, told

EXAMPLES = 5
"""Requests tried per operation and kind: such that fit the document and such that do not."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]
"""What every answer is held to. One that let the key in is once an operation asked for again without it."""
BOUNDS = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)


def test_it_describes_itself_in_a_valid_document(web: Web) -> None:
    document = told(web.stranger().get("/api/openapi.json"))
    assert [str(fault) for fault in OpenAPIV31SpecValidator(document).iter_errors()] == []
    described = {(path, method) for path, verbs in document["paths"].items() for method in verbs}
    assert ("/api/v1/campaigns/{campaign_id}/preview", "post") in described
    rules = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in web.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/api/v1/")
    }
    assert described == rules


def test_it_describes_each_body_as_its_view_reads_it(web: Web) -> None:
    document = told(web.stranger().get("/api/openapi.json"))
    described = {one["operationId"].lower(): one for verbs in document["paths"].values() for one in verbs.values()}
    seen = 0
    for name, view in web.app.view_functions.items():
        body = get_type_hints(inspect.unwrap(view)).get("json") if name.startswith("api.") else None
        if body is not None:
            said = described[operation_of(name)]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            (schema,), held = msgspec.json.schema_components((body,), ref_template="#/components/schemas/{name}")
            schemas = {said.rpartition("/")[2]: held.pop(schema["$ref"].rpartition("/")[2])} | held
            for one, wanted in msgspec.json.decode(msgspec.json.encode(schemas)).items():
                assert document["components"]["schemas"][one] == wanted, (name, one)
            seen += 1
    assert seen > 50


class Told(msgspec.Struct):
    """Something of a name."""

    of: str


@pytest.mark.parametrize("is_inner", [False, True])
def test_two_things_of_one_name_are_never_described_as_one(is_inner: bool) -> None:
    other: Any = msgspec.defstruct("Told", [("at", int)])
    if is_inner:
        other = msgspec.defstruct("Holds", [("one", other)])
    document = Document(
        "flask",
        model_adapter=Schemas(),
        naming_strategy=lambda model: model.__name__,
        nested_naming_strategy=lambda _parent, child: child,
    )

    def reads(body: Any) -> None:
        document.validate(json=body)(lambda json: json)

    reads(Told)
    reads(Told)
    with pytest.raises(TypeError, match=r"^Told.* has the name of something else"):  # noqa: PT012
        reads(other)
        document.described(Flask("other"))


def operations(web: Web) -> list[Any]:
    """What the document tells, as schemathesis understands it."""
    schema = schemathesis.openapi.from_wsgi("/api/openapi.json", web.app)
    return [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]


def tried(operation: Any, mode: GenerationMode, key: str, there: Mapping[str, object], reached: set[str]) -> None:
    """Make some calls of one operation; `there` puts numbers of things there are into the address.

    `reached` are the operations of which a call has succeeded.
    """

    @BOUNDS
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        for name in set(case.path_parameters or ()) & set(there):
            case.path_parameters[name] = there[name]
        checks = CHECKS if operation.label in reached else [*CHECKS, ignored_auth]
        if case.call_and_validate(headers={"Authorization": f"Bearer {key}"}, checks=checks).status_code < 300:
            reached.add(operation.label)

    send()


@pytest.mark.slow
def test_it_answers_whatever_is_sent_as_its_document_says(web: Web) -> None:
    ada, gone = web.shop.people("ada", "gone")
    campaign = web.shop.campaign()
    things = ("offer_id", "creative_id", "message_id", "segment_id", "user_id")
    there = dict.fromkeys(things, 1) | {"campaign_id": campaign, "profile": ada}
    key = web.program("admin").key
    reached: set[str] = set()
    for operation in operations(web):
        for mode, ids in ((GenerationMode.POSITIVE, there), (GenerationMode.NEGATIVE, {})):
            named = ids | {"profile": gone} if ids and "erase" in operation.label else ids
            tried(operation, mode, key, named, reached)
    assert len(reached) >= 35, sorted(reached)


def test_it_runs_a_campaign_from_the_first_offer_to_its_results(web: Web) -> None:
    (ada,) = web.shop.people("ada")
    web.shop.send(web.shop.order("ada", "shoes", web.shop.now - timedelta(days=400)))
    api = web.program("manager")
    designs = {creative["name"]: creative["id"] for creative in api.told("GET", "/creatives")["creatives"]}
    content = {"creative_id": designs["Neutral"], "landing": "https://shop.example.com/"}
    neutral = api.told("POST", "/offers", content | {"name": "Always", "kind": "neutral"})["id"]
    discount = content | {"name": "Discount", "kind": "replacement", "purpose_category": "shoes", "category": "shoes"}
    offer = api.told("POST", "/offers", discount | {"creative_id": designs["Restock discount"]})["id"]
    message = api.told("GET", f"/messages/{web.shop.message()}")
    slots = [{"slot": slot["index"], "default": neutral, "offers": [offer]} for slot in message["slots"]]
    written = {"name": "By program", "message_id": message["id"], "slots": slots, "default_landing": content["landing"]}
    at = f"/campaigns/{api.told('POST', '/campaigns', written)['id']}"
    assert api.told("GET", at)["missing"] == ["It has not been published."]
    assert api.told("GET", f"{at}/audience")["sendable"] == 1
    shown = api.told("POST", f"{at}/preview", {"profile": ada})["slots"][0]
    bought = api.told("POST", f"{at}/preview", {"profile": ada, "bought": [1]})["slots"][0]
    assert (shown["offer_name"], bought["offer_name"]) == ("Discount", "Always")
    assert shown["sha256"] != bought["sha256"]
    plan = api.told("POST", f"{at}/publish")["plan"]
    assert [one["plan"] for one in api.told("GET", f"{at}/versions")["versions"]] == [plan]
    assert api.call("POST", f"{at}/tests", {"profile_ids": [ada], "address": "me@example.com"}).status_code == 201
    due = {"due_at": web.shop.now.isoformat(), "timezone": "Europe/Vienna"}
    assert api.told("POST", f"{at}/schedule", due) == {"done": True, "state": "scheduled"}
    assert api.told("POST", f"{at}/pause")["state"] == "paused"
    assert api.told("POST", f"{at}/resume")["state"] == "scheduled"
    assert api.call("POST", f"{at}/kill").status_code == 200
    assert api.call("POST", f"{at}/revive").status_code == 200
    assert api.call("POST", f"{at}/offers/{offer}/withdraw").status_code == 200
    assert api.call("POST", f"{at}/offers/{offer}/restore").status_code == 200
    assert api.told("GET", f"{at}/report")["mailed"] == 0
    assert api.told("POST", f"{at}/cancel")["state"] == "cancelled"
    assert api.call("POST", f"{at}/resume").status_code == 409


FAULTS: list[tuple[str, str, dict[str, Any], str]] = [
    ("POST", "/offers", {"name": "x"}, "kind"),
    ("POST", "/offers", {"name": 7}, "name"),
    ("POST", "/offers", {"name": "x", "kind": "neutral", "creative_id": 10**12, "landing": ""}, "creative_id"),
    (
        "POST",
        "/offers",
        {"name": "x", "kind": "neutral", "creative_id": 999, "landing": "https://e.co"},
        "creative_id",
    ),
    ("POST", "/offers", {"name": "x\x00", "kind": "neutral", "creative_id": 1, "landing": "https://e.com"}, "name"),
    ("POST", "/offers", {"name": "x", "kind": "neutral", "creative_id": 1, "landing": "ftp://e.com"}, "landing"),
    ("POST", "/offers", {"nam": "x"}, "nam"),
    ("POST", "/segments", {"name": "s", "rule": {"field": "no.such", "op": "=", "value": 1}}, "rule"),
    ("POST", "/campaigns", {"name": "c", "slots": [{"slot": 0, "default": "one"}]}, "slots[0].default"),
    ("POST", "/campaigns", {"name": "c", "message_id": 999}, "message_id"),
    ("POST", "/users", {"email": "x", "name": "x", "password": "long enough", "roles": ["admin"]}, "email"),
    ("POST", "/keys", {"name": "site", "kind": "site"}, "origins"),
    ("GET", "/system/refused?limit=0", {}, "limit"),
    ("POST", "/customers/search", {"q": ""}, "q"),
    ("POST", "/customers/search", {}, "q"),
]


def test_it_names_the_field_at_fault(web: Web) -> None:
    api = web.program("admin")
    for method, path, body, field in FAULTS:
        problem = told(api.call(method, path, body if method == "POST" else None), 400)
        assert (problem["field"] or "").startswith(field), (path, body, problem)
        assert problem["detail"]


def test_it_takes_no_moment_at_the_edge_of_the_calendar(web: Web) -> None:
    api, campaign = web.program("admin"), web.shop.campaign()
    at = f"/campaigns/{campaign}"
    offer = {"name": "Edge", "kind": "neutral", "creative_id": web.shop.creative(), "landing": "https://e.com"}
    window = {"event": "Order Completed", "zone": "Asia/Tokyo"}
    for moment in ("9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z"):
        warm_up = {"domain": "example.com", "begins_at": moment, "ceilings": [50]}
        asked: list[tuple[str, str, dict[str, Any] | None, str]] = [
            ("POST", "/offers", offer | {"starts_at": moment}, "starts_at"),
            ("POST", "/offers", offer | {"ends_at": moment}, "ends_at"),
            ("POST", f"{at}/publish?starts_at={moment.replace('+', '%2B')}", None, "starts_at"),
            ("POST", f"{at}/approvals", {"due_at": moment, "note": "Meant so"}, "due_at"),
            ("POST", f"{at}/preview", {"at": moment}, "at"),
            ("POST", f"{at}/explore", {"changes": {"at": moment}}, "at"),
            ("POST", f"{at}/schedule", {"due_at": moment}, "due_at"),
            ("PUT", "/system/send-limits", {"warm_ups": [warm_up]}, "warm_ups[0].begins_at"),
            ("POST", "/segments", {"name": "S", "rule": window | {"from": {"date": moment[:10]}}}, "rule.from.date"),
        ]
        for method, path, body, field in asked:
            problem = told(api.call(method, path, body), 400)
            assert (problem["field"], "00 to 2199" in problem["detail"]) == (field, True), (path, moment)


@pytest.mark.parametrize("number", [10**9, 2**31, 10**18 - 1])
def test_it_takes_no_number_that_its_column_cannot_hold(web: Web, number: int) -> None:
    admin, manager = web.program("admin"), web.program("manager")
    assert told(manager.call("GET", f"/pictures?after={number}"), 400)["field"] == "after"
    assert told(admin.call("GET", f"/signals?source={number}"), 400)["field"] == "source"
    assert told(admin.call("POST", "/signals/replay", {"source": number}), 400)["field"] == "source"
    desk = web.browser("manager")
    assert desk.get(f"/pictures/?before={number}").status_code == 200
    assert desk.get(f"/creatives/new?from={number}").status_code in (200, 302)


def test_it_refuses_what_a_route_does_not_know(web: Web) -> None:
    api, campaign = web.program("manager"), web.shop.campaign(published=False)
    at = f"/campaigns/{campaign}"
    for method, path, body, field in (
        ("POST", f"{at}/publish", {"starts_at": "2199-01-01T00:00:00Z"}, "starts_at"),
        ("POST", f"{at}/publish", {"startsat": "x"}, "startsat"),
        ("POST", f"{at}/publish?startsat=x", None, "startsat"),
        ("POST", f"{at}/kill", {"offer": 1}, "offer"),
        ("POST", f"{at}/lock", {"junk": 1}, "junk"),
        ("POST", f"{at}/lock?junk=1", None, "junk"),
        ("GET", f"{at}?junk=1", None, "junk"),
        ("GET", at, {"junk": 1}, "junk"),
        ("POST", f"{at}/schedule?due_at=x", {}, "due_at"),
        ("POST", f"{at}/lock", [1], None),
    ):
        assert told(api.call(method, path, body), 400)["field"] == field, (path, body)
    said = api.told("GET", at)
    assert (said["plan"], said["killed"], said["locked"]) == (None, False, None), "none of it was done"
    key = {"Authorization": f"Bearer {api.key}"}
    for nothing in (b"", b" ", b"{}"):
        answer = web.app.test_client().post(f"/api/v1{at}/publish", data=nothing, headers=key)
        assert answer.status_code == 200, answer.text


def test_every_body_and_query_names_what_it_does_not_know(web: Web) -> None:
    for name, view in web.app.view_functions.items():
        if name.startswith("api."):
            hints = get_type_hints(inspect.unwrap(view))
            for part in ("json", "query"):
                for struct in structs(hints.get(part), set()):
                    assert struct.__struct_config__.forbid_unknown_fields, (name, part, struct)


def structs(kind: Any, found: set[type[msgspec.Struct]]) -> set[type[msgspec.Struct]]:
    """The structs that a type is made of."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in found:
        found.add(kind)
        for inner in get_type_hints(kind).values():
            structs(inner, found)
    for inner in get_args(kind):
        structs(inner, found)
    return found


def test_it_refuses_what_is_no_sound_json_object(web: Web) -> None:
    key = {"Authorization": f"Bearer {web.program('admin').key}"}
    client = web.app.test_client()
    for body in (b"", b"[]", b"null", b"{", b'{"name": NaN}', b"\xff", b'"text"', b"[" * 100_000):
        answer = client.post("/api/v1/keys", data=body, headers=key, content_type="application/json")
        assert told(answer, 400)["status"] == 400, body[:20]
    assert client.post("/api/v1/keys", data=b"name=x", headers=key).status_code == 415
    huge = client.post("/api/v1/keys", data=b" " * 5_000_000, headers=key, content_type="application/json")
    assert huge.status_code == 413


def test_it_lets_opens_know_a_key_and_that_it_is_revoked(web: Web) -> None:
    api = web.program("admin")
    made = api.told("POST", "/keys", {"name": "call centre"})
    hot = hot_store(web.shop.settings.redis_url)
    facts = Keyring(hot).read(f"Bearer {made['key']}")
    assert facts is not None
    assert facts.kind == "server"
    assert Keyring(hot).read(f"Bearer {made['id']}.guess") is None
    assert api.call("DELETE", f"/keys/{made['id']}").status_code == 200
    assert Keyring(hot).read(f"Bearer {made['key']}") is None
    assert (
        web.app.test_client().get("/api/v1/keys", headers={"Authorization": f"Bearer {made['key']}"}).status_code == 401
    )
    hot.close()


def test_it_writes_keys_later_when_the_store_was_away_or_lost_them(web: Web) -> None:
    api = web.program("admin")
    kept, ended = (api.told("POST", "/keys", {"name": name}) for name in ("kept", "ended"))
    held = web.shop.store.get(keys.api_key(ended["id"]))
    assert isinstance(held, bytes)
    api.call("DELETE", f"/keys/{ended['id']}")
    web.shop.store.delete(keys.api_key(kept["id"]))
    web.shop.store.set(keys.api_key(ended["id"]), held)
    with web.shop.sessions.begin() as session:
        assert keyring.refresh(session, web.shop.store) == 2
        assert keyring.refresh(session, web.shop.store) == 0
    assert web.shop.store.get(keys.api_key(ended["id"])) is None
    assert web.shop.store.get(keys.api_key(kept["id"])) is not None


def test_it_never_tells_a_secret_again(web: Web) -> None:
    api = web.program("admin")
    made = api.told("POST", "/keys", {"name": "secret"})
    person = {"email": "new@example.com", "name": "New", "password": PASSWORD, "roles": ["support"]}
    api.call("POST", "/users", person)
    seen = api.call("GET", "/keys").text + api.call("GET", "/users").text + api.call("GET", "/system/changes").text
    assert made["key"].partition(".")[2] not in seen
    assert PASSWORD not in seen
    assert "argon2" not in seen


def test_it_changes_people_but_keeps_the_last_admin(web: Web) -> None:
    api = web.program("admin")
    web.person("admin")
    (admin,) = api.told("GET", "/users")["users"]
    at = f"/users/{admin['id']}"
    assert api.told("PATCH", at, {"timezone": "Asia/Tokyo", "name": "Ada"})["timezone"] == "Asia/Tokyo"
    assert api.call("PATCH", at, {"active": False}).status_code == 409
    assert api.call("PATCH", at, {"roles": ["manager"]}).status_code == 409
    assert api.told("GET", "/users")["users"][0]["roles"] == ["admin"]
