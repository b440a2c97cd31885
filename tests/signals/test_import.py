"""Bulk import: the same meaning as the HTTP intake, bad lines apart, safe to run again."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner, Result
from flask.testing import FlaskClient

from base.environment import environment
from base.settings import Settings
from signals.importing import ImportReport, import_events
from signals.journal import Refusal
from signals.listing import Listed
from tests.damage import flip
from tests.signals.sending import NOW, Desk, call, clocked, identified, order, refunded
from tests.signals.test_app import http, post
from tests.signals.test_set_back import gone_back
from workers.commands.importing import command as import_command
from workers.commands.rebuild import command as rebuild_command

__all__ = ["http"]


@pytest.fixture
def cli(desk: Desk, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CliRunner]:
    """The command line in the environment of the test's stores."""
    for name, value in environment(clocked(settings, desk, tmp_path)).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LATEBIND_NICENESS", "0")  # Of the process of the tests, which could not take it back.
    yield CliRunner()
    assert "LATEBIND_DATABASE_URL" in os.environ


def told_by(user: str) -> list[dict[str, Any]]:
    """A small life, for one person."""
    return [
        identified(user, email=f"{user}@example.com", city="Bonn", time="2026-02-01T08:00:00Z"),
        order(user, "o1", ("p1", "Shoes", 80.0), ("p2", "Socks", 5.25), time="2026-02-02T10:00:00Z"),
        refunded(user, "o1", "p2", time="2026-02-03T10:00:00Z"),
        order(user, "o2", ("p3", "Hats", 20.0), time="2026-02-05T10:00:00Z"),
    ]


def told_elsewhere(user: str) -> list[dict[str, Any]]:
    """What the other channels tell of a person: a day each, in this order."""
    told: list[tuple[str, dict[str, Any]]] = [
        ("Product Viewed", {"product_id": "p3", "category": "Hats", "price": 20}),
        ("Product Registered", {"product_id": "p1", "category": "Shoes"}),
        ("Survey Answered", {"survey_id": "nps", "score": 9}),
        ("Call Note Added", {"text": "asked for laces"}),
        ("Product Reviewed", {"product_id": "p3", "category": "Hats", "rating": 5}),
        ("Complaint Opened", {"complaint_id": "c1"}),
        ("Brand Mentioned", {"network": "a social one"}),
        ("Email Opened", {"class": "person"}),
        ("Email Link Clicked", {"class": "person"}),
    ]
    calls = [
        call("track", event=name, userId=user, properties=said, timestamp=f"2026-02-{day:02}T10:00:00Z")
        for day, (name, said) in enumerate(told, 6)
    ]
    by_mail = {"campaign": {"medium": "email"}, "traits": {"email": f"{user}@work.example.com"}}
    return [*calls, order(user, "o3", ("p3", "Hats", 20.0), time="2026-02-20T10:00:00Z") | {"context": by_mail}]


def file_of(path: Path, lines: list[bytes]) -> Path:
    """A file of these lines."""
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def loaded(cli: CliRunner, *arguments: str) -> Result:
    """Run `latebind import` and expect it to work."""
    result = cli.invoke(import_command, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def told_by_a_clock_behind(calls: list[dict[str, Any]], late: timedelta) -> list[dict[str, Any]]:
    """The calls of a sender whose clock is so much behind."""
    return [one | {"timestamp": (datetime.fromisoformat(one["timestamp"]) - late).isoformat()} for one in calls]


def tables_of(folder: Path, calls: list[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """The calls as CSV, a file for each kind of them, as a shop's systems export them, by its own clock; arguments of
    an import each."""
    zone = "Europe/Vienna"
    for kind, part in (("identify", "traits"), ("track", "properties")):
        own = [one for one in calls if one["type"] == kind]
        fields = list(dict.fromkeys(name for one in own for name in one[part]))
        columns: dict[str, Any] = {"customer": "userId", "when": "timestamp"} | (
            {}
            if part == "traits"
            else {"what": "event", "came by": "context.campaign.medium", "of": "context.traits.email"}
        )
        columns |= {name: {"to": f"{part}.{name}", "as": "json" if name == "products" else "text"} for name in fields}
        mapping, table = folder / f"{kind}.json", folder / f"{kind}.csv"
        mapping.write_text(json.dumps({"type": kind, "columns": columns, "timezone": zone}))
        with table.open("w", newline="") as file:
            rows = csv.DictWriter(file, list(columns))
            rows.writeheader()
            for one in own:
                said = {name: json.dumps(value) if name == "products" else value for name, value in one[part].items()}
                at = datetime.fromisoformat(one["timestamp"]).astimezone(ZoneInfo(zone))
                head = {"customer": one["userId"], "when": f"{at:%Y-%m-%d %H:%M:%S}", "what": one.get("event")}
                if "context" in one:
                    head |= {
                        "came by": one["context"]["campaign"]["medium"],
                        "of": one["context"]["traits"]["email"],
                    }
                rows.writerow({name: value for name, value in (head | said).items() if name in columns})
        yield str(table), "--mapping", str(mapping)


@pytest.mark.feature("DE-01")
def test_it_gives_the_same_profile_by_single_calls_by_batch_and_by_file(
    desk: Desk, http: FlaskClient, cli: CliRunner, tmp_path: Path
) -> None:
    users = ("single", "batch", "file", "table")
    told = {user: told_by(user) + told_elsewhere(user) for user in users}
    for event in told["single"]:
        assert post(http, f"/v1/{event['type']}", event).status_code == 200
    hour = timedelta(hours=1)
    batch = {"batch": told_by_a_clock_behind(told["batch"], hour), "sentAt": (NOW - hour).isoformat()}
    assert post(http, "/v1/batch", batch).status_code == 200
    lines = [json.dumps(event, separators=(",", ":")).encode() for event in told["file"]]
    loaded(cli, "events", str(file_of(tmp_path / "events.jsonl", lines)))
    for arguments in tables_of(tmp_path, told["table"]):
        loaded(cli, "events", *arguments)

    roots = [desk.root("user_id", user) for user in users]
    states = [desk.state(root) for root in roots]
    hats, shoes = desk.category("hats"), desk.category("shoes")
    one = states[0]
    assert (one.orders, one.order_cents, one.traits["city"], one.views[hats].n) == (3, 12000, "Bonn", 1)
    assert one.mail_orders == 1
    assert (list(one.registered), one.surveys["nps"].score, one.reviews[hats].sentiment) == ([shoes], 9, "positive")
    assert (one.notes, list(one.complaints), one.opens, one.clicks) == (1, ["c1"], 1, 1)
    for state in states:
        state.version = 0
    assert states[1:] == [one] * 3
    # What says nothing of a profile is kept as well.
    kept = (
        "SELECT type, name, event_time, order_id, order_total_cents, category_ids,"
        " figures #>> '{properties,total}' AS total, figures #> '{properties,products}' AS products"
        " FROM event WHERE profile_id = :id ORDER BY event_time"
    )
    rows = [desk.rows(kept, id=root) for root in roots]
    assert len(rows[0]) == len(told["single"])
    assert rows[1:] == [rows[0]] * 3
    for domain in ("example.com", "work.example.com"):
        assert [desk.root("email", f"{user}@{domain}") for user in users] == roots


@pytest.mark.feature("DE-31")
def test_it_takes_ninety_nine_lines_of_a_hundred_and_lists_the_corrupt_one(
    desk: Desk, cli: CliRunner, tmp_path: Path
) -> None:
    lines = [json.dumps(order(f"u{n % 90}", f"o{n}", ("p", "Shoes", 1.0))).encode() for n in range(2000)]
    corrupt = [
        b"{",
        b"\xff\xfe",
        b'{"type": "track"}',
        lines[0][:50],
        b'{"type":"track","event":"x\\u0000","userId":"u"}',
    ]
    for n in range(20):
        lines[n * 100 + 50] = corrupt[n % len(corrupt)]
    result = loaded(cli, "events", "--allow-errors", str(file_of(tmp_path / "events.jsonl", lines)))

    assert "1980 taken, 0 known already, 0 contradicting, 20 refused" in result.output
    assert "line 51: the event is not valid JSON: Input data was truncated" in result.output
    assert "line 251: userId: or anonymousId must be given" in result.output
    assert desk.rows("SELECT count(*) FROM event") == [(1980,)]
    assert desk.rows("SELECT count(*) FROM rejected_event") == [(20,)]
    assert sum(desk.state(desk.root("user_id", f"u{n}")).orders for n in range(90)) == 1980


def test_it_ends_with_one_where_rows_contradict_what_is_stored(desk: Desk, cli: CliRunner, tmp_path: Path) -> None:
    for city, status in (("Bonn", 0), ("Bonn", 0), ("Oslo", 1)):
        told = [call("identify", userId=user, messageId=user, traits={"city": city}) for user in ("ann", "bob")]
        path = str(file_of(tmp_path / "told.jsonl", [json.dumps(one).encode() for one in told]))
        result = cli.invoke(import_command, ["events", path])
        assert result.exit_code == status, result.output
    assert "0 taken, 0 known already, 2 contradicting, 0 refused" in result.output
    assert loaded(cli, "events", "--allow-errors", path).exit_code == 0
    assert desk.state(desk.root("user_id", "ann")).traits["city"] == "Bonn"


@pytest.mark.feature("DE-02")
def test_it_may_be_run_again_and_changes_nothing(desk: Desk, cli: CliRunner, tmp_path: Path) -> None:
    events = [event for n in range(20) for event in told_by(f"u{n}")]
    for event in events[::2]:
        del event["messageId"]
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n\n".join(json.dumps(event).encode() for event in events)))
    loaded(cli, "events", str(path))
    before = desk.everything()
    desk.store.flushdb()

    assert "0 taken, 80 known already" in loaded(cli, "events", str(path)).output
    assert desk.everything() == before


def test_it_takes_a_file_in_chunks_and_shows_how_far_it_is(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signals.importing.CHUNK_EVENTS", 1000)
    lines = [json.dumps(order("u1", f"o{n}", ("p", "Shoes", 1.0))).encode() for n in range(1500)]
    shown: list[int] = []

    def show(report: ImportReport) -> None:
        shown.append(report.lines)

    report = import_events(desk.intake, desk.server, lines, NOW, show)
    assert (report.accepted, shown) == (len(lines), [1000, len(lines)])
    assert desk.state(desk.root("user_id", "u1")).orders == len(lines)


def test_it_imports_products_and_rebuilds_from_the_command_line(desk: Desk, cli: CliRunner, tmp_path: Path) -> None:
    feed = tmp_path / "feed.tsv"
    feed.write_text("id\ttitle\tprice\tproduct_type\np1\tRunner\t80 EUR\tShoes\np2\tNothing\tfree\tShoes\n")
    assert cli.invoke(import_command, ["products", str(feed)]).exit_code == 1
    result = loaded(cli, "products", "--allow-errors", str(feed))
    assert "1 stored, 1 refused" in result.output
    assert "item 2: price: must be an amount, with a point before its decimals" in result.output

    desk.send(order("u1", "o1", ("p1", "Shoes", 1.0)))
    desk.store.flushdb()
    rebuilt = cli.invoke(rebuild_command, catch_exceptions=False)
    assert rebuilt.output == "1 profile folded anew, 0 different, 1 were lost\n"
    assert desk.state(desk.root("user_id", "u1")).orders == 1


def test_the_command_says_what_was_ahead_and_who_is_to_be_erased_again(desk: Desk, cli: CliRunner) -> None:
    desk.send(*(order(user, f"o-{user}", ("p1", "Shoes", 80.0)) for user in ("u1", "u2")))
    gone_back(desk, "u1")
    erased = gone_back(desk, "u2", erased=True)
    said = cli.invoke(rebuild_command, catch_exceptions=False)
    assert said.stdout == "2 profiles folded anew, 0 different, 0 were lost\n"
    assert "of a time that the database has lost in the hot store: 1\n" in said.stderr
    assert f"erase these customers again: {erased}\n" in said.stderr


def test_the_command_names_signals_that_do_not_open_and_folds_everybody_else(desk: Desk, cli: CliRunner) -> None:
    desk.send(*(order(user, f"o-{user}", ("p1", "Shoes", 80.0)) for user in ("u1", "u2")))
    bad = desk.root("user_id", "u1")
    flip(desk.sessions, "event.body", f"profile_id = {bad}")
    ((event,),) = desk.rows(f"SELECT id FROM event WHERE profile_id = {bad}")
    said = cli.invoke(rebuild_command)
    assert said.exit_code == 1
    assert said.stdout.endswith("2 profiles folded anew, 1 different, 0 were lost\n")
    assert f"Damaged: event.body, id {event}, of profile {bad}\n" in said.stderr
    assert "of 1 profile some signals do not open" in said.stderr


def test_it_loads_what_changed_of_products_from_a_file(desk: Desk, cli: CliRunner, tmp_path: Path) -> None:
    feed, delta = tmp_path / "feed.tsv", tmp_path / "delta.tsv"
    feed.write_text("id\ttitle\tprice\tquantity\np1\tRunner\t79.50 EUR\t12\np2\tSocks\t5 EUR\t7\n")
    delta.write_text("id\tprice\np1\t60 EUR\np3\t1 EUR\n")

    assert loaded(cli, "products", str(feed)).stdout == "2 stored, 0 refused\n"
    result = loaded(cli, "products", str(delta), "--feed", "delta", "--allow-errors")
    assert (result.stdout, "item 2: id: is no product" in result.stderr) == ("1 stored, 1 refused\n", True)
    assert desk.rows("SELECT id, price_cents, stock FROM product ORDER BY id") == [("p1", 6000, 12), ("p2", 500, 7)]


def listed(desk: Desk) -> list[tuple[Any, ...]]:
    return desk.rows("SELECT at, replayed_at IS NOT NULL FROM rejected_event ORDER BY id")


def test_a_file_ends_no_entry_of_a_call_that_counts_each_time(desk: Desk) -> None:
    told = {"type": "track", "event": "Order Completed", "userId": "u1", "properties": {"total": -1}}
    named = told | {"messageId": "m1"}
    earlier = [NOW - timedelta(days=day) for day in (3, 2, 1)]
    for at in earlier:
        assert desk.send(told, named, now=at)[0].status == "rejected"
    file = io.BytesIO(b"\n".join(json.dumps(one).encode() for one in (told, named)))
    assert import_events(desk.intake, desk.server, file, NOW).rejected == 2
    assert listed(desk) == [*((at, False) for at in earlier), (NOW, False), (NOW, False)], "of m1 the last alone"


def test_a_file_ends_no_entry_that_is_taken_meanwhile(desk: Desk) -> None:
    told = identified("u1", birthday="someday") | {"type": "identity"}
    body = json.dumps(told).encode()
    assert desk.statuses(told) == ["rejected"]
    before = Listed(desk.sessions, desk.server, NOW + timedelta(hours=1))
    before.look()
    desk.run("UPDATE rejected_event SET replayed_at = at")
    ((reason, field, message),) = desk.rows("SELECT reason, field, message FROM rejected_event")
    with desk.sessions.begin() as session:
        before.forget(session, [Refusal(reason, field, message, body)])
    assert listed(desk) == [(NOW, True)]
