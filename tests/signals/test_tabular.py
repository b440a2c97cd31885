"""Files of rows: CSV and Parquet by a mapping; rows that are wrong are listed, rows are looked at first."""

from __future__ import annotations

import gzip
import io
import json
import re
import signal
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet

from base.environment import environment
from base.errors import InvalidInput, Unavailable
from base.settings import Settings
from signals.importing import BadRow, import_events
from signals.intake import admit
from signals.tabular import RowPlan, Rows, by_name, called, from_csv, plan_from
from tests.signals.sending import NOW, Desk, clocked
from workers.commands.importing import command as import_command

PLAN = {
    "event": "Order Completed",
    "columns": {
        "customer": "userId", "bought": "timestamp", "order": "properties.order_id",
        "amount": {"to": "properties.total", "as": "number"}, "goods": {"to": "properties.products", "as": "json"},
    },
    "values": {"properties.currency": "EUR"},
    "timezone": "Europe/Vienna",
}  # fmt: skip
GOODS = [{"product_id": "p1", "category": "Shoes", "price": 79.5, "quantity": 1}]


@pytest.fixture
def cli(desk: Desk, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """The command line in the environment of the test's stores, beside the mapping."""
    for name, value in environment(clocked(settings, desk, tmp_path)).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "plan.json").write_text(json.dumps(PLAN))
    monkeypatch.chdir(tmp_path)
    return CliRunner()


def loaded(cli: CliRunner, *arguments: str) -> Result:
    """Run `latebind import events` and expect it to work."""
    result = cli.invoke(import_command, ["events", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def written(path: Path, rows: int, per_group: int = 4) -> Path:
    """A Parquet file of orders, in row groups."""
    table = pyarrow.table({
        "customer": [f"u{row % 3}" for row in range(rows)],
        "bought": pyarrow.array([datetime(2026, 2, 1, 9, row % 60) for row in range(rows)], pyarrow.timestamp("ms")),  # noqa: DTZ001
        "order": list(range(rows)),
        "amount": pyarrow.array([Decimal("79.50")] * rows, pyarrow.decimal128(9, 2)),
        "goods": [GOODS] * rows,
        "ignored": ["x"] * rows,
    })  # fmt: skip
    parquet.write_table(table, path, row_group_size=per_group)
    return path


@pytest.mark.feature("DE-01")
def test_it_gives_the_same_profiles_by_csv_and_by_parquet(desk: Desk, cli: CliRunner, tmp_path: Path) -> None:
    written(tmp_path / "orders.parquet", 9)
    assert "9 taken, 0 known already" in loaded(cli, "orders.parquet", "--mapping", "plan.json").output
    before = [desk.state(desk.root("user_id", f"u{n}")) for n in range(3)]
    assert [(state.orders, state.order_cents) for state in before] == [(3, 23850)] * 3
    assert desk.rows("SELECT CAST(min(event_time) AS text) FROM event") == [("2026-02-01 08:00:00+00",)]

    lines = ["order;bought;customer;amount;goods"]
    goods = '"' + json.dumps(GOODS).replace('"', '""') + '"'
    lines += [f"{row};2026-02-01 09:{row:02};v{row % 3};79.50;{goods}" for row in range(9)]
    (tmp_path / "orders.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    loaded(cli, "orders.csv.gz", "--mapping", "plan.json", "--delimiter", "semicolon")
    after = [desk.state(desk.root("user_id", f"v{n}")) for n in range(3)]
    for state in before + after:
        state.version = 0
    assert before == after
    again = loaded(cli, "orders.parquet", "--mapping", "plan.json").output
    assert "0 taken, 9 known already" in again


@pytest.mark.feature("DE-31")
def test_it_lists_the_rows_that_are_wrong_and_takes_the_others(desk: Desk, cli: CliRunner, tmp_path: Path) -> None:
    rows = [
        "userId,timestamp,event,properties.order_id,properties.total",
        "u1,2026-02-01T09:00:00Z,Order Completed,o1,10.00",
        "u1,someday,Order Completed,o2,10.00",
        "u1,2026-02-01T09:00:00Z,Order Completed,o3,dear",
        "u1,2026-02-01T09:00:00Z,Order Completed,o4,10.00,more",
        "",
        "u1,2026-02-01,Order Completed,o5,10.00",
    ]
    (tmp_path / "orders.csv").write_text("\n".join(rows))
    result = cli.invoke(import_command, ["events", "orders.csv"])
    assert result.exit_code == 1, "not all was taken"
    assert "2 taken, 0 known already, 0 contradicting, 3 refused" in result.output
    for words in ("row 2: timestamp: must be a moment", "row 3: properties.total: must be a number",
                  "row 4: the row has 6 fields, the first line names 5"):  # fmt: skip
        assert words in result.output, words
    bodies = [json.loads(body) for (body,) in desk.rows("SELECT body FROM rejected_event WHERE field = 'timestamp'")]
    assert [(body["userId"], body["timestamp"]) for body in bodies] == [("u1", "someday")], "found by whom it names"
    assert desk.rows("SELECT reason, field FROM rejected_event ORDER BY reason, field") == [
        ("invalid", "properties.total"), ("row", ""), ("row", "timestamp"),
    ]  # fmt: skip


def test_it_lists_once_what_is_refused_each_time_that_a_file_is_loaded(desk: Desk) -> None:
    head = b"userId,timestamp,event,properties.total\n"
    own = b"u1,someday,Sold,1\nu1,2026-02-01T09:00:00Z,Order Completed,2\nu1,a,b,c,d\n"
    good = b"u2,2026-02-01T09:00:00Z,Order Completed,2\n"

    def load(rows: bytes, hours: int) -> int:
        calls = from_csv(io.BytesIO(head + rows), lambda names: Rows(by_name(names)))
        return import_events(desk.intake, desk.server, calls, NOW + timedelta(hours=hours)).rejected

    def listed() -> list[Any]:
        return desk.rows("SELECT at, message FROM rejected_event ORDER BY id")

    assert load(own + own, 0) == 6
    first = listed()
    assert len(first) == 6, "two rows are two, however alike"
    assert load(own + own, 1) == 6
    assert listed() == [(NOW + timedelta(hours=1), message) for _, message in first]
    assert load(good + b"u1,someday,Sold,1\nu1,someday,Sold,3\n", 2) == 3, "other content is another row"
    assert len(listed()) == 4 + 3
    desk.rows("UPDATE rejected_event SET replayed_at = at RETURNING id")
    before = len(listed())
    load(own, 3)
    assert len(listed()) == before + 3, "what became of each stays told"


@pytest.mark.feature("DE-31")
def test_it_lists_the_rows_of_parquet_that_are_wrong_and_takes_the_others(
    desk: Desk, cli: CliRunner, tmp_path: Path
) -> None:
    table = pyarrow.table({
        "userId": ["u1", "u2", "u3", None, "u5"],
        "timestamp": ["2026-02-01T09:00:00Z", "someday", None, "2026-02-01T09:00:00Z", "2026-02-01T09:00:00Z"],
        "event": ["Order Completed"] * 5,
        "properties.order_id": [f"o{row}" for row in range(1, 6)],
    })  # fmt: skip
    parquet.write_table(table, tmp_path / "orders.parquet", row_group_size=2)
    result = cli.invoke(import_command, ["events", "orders.parquet"])
    assert result.exit_code == 1, "not all was taken"
    assert "2 taken, 0 known already, 0 contradicting, 3 refused" in result.output
    for words in ("row 2: timestamp: must be a moment", "row 3: timestamp: must be given", "row 4: userId: or"):
        assert words in result.output, words
    assert desk.rows("SELECT order_id FROM event ORDER BY 1") == [("o1",), ("o5",)]
    assert desk.rows("SELECT reason, field FROM rejected_event ORDER BY 1, 2") == [
        ("invalid", "userId"), ("row", "timestamp"), ("row", "timestamp"),
    ]  # fmt: skip


def test_it_shows_rows_as_calls_before_anything_is_stored(desk: Desk, cli: CliRunner, tmp_path: Path) -> None:
    written(tmp_path / "orders.parquet", 5)
    output = loaded(cli, "orders.parquet", "--mapping", "plan.json", "--preview", "2", "--from", "2").output
    first, second = output.splitlines()
    assert first.startswith("2: ")
    call = json.loads(first.removeprefix("2: "))
    assert call["timestamp"] == "2026-02-01T09:01:00+01:00"
    assert call["properties"] == {"currency": "EUR", "order_id": 1, "total": 79.5, "products": GOODS}
    assert second.startswith("3: ")
    (tmp_path / "bad.csv").write_text("userId,timestamp\nu1,2026-02-01T09:00:00Z\n")
    assert "1: refused: event: must be text" in loaded(cli, "bad.csv", "--preview", "5").output
    assert desk.rows("SELECT count(*) FROM event") == [(0,)]


def test_it_goes_on_where_it_was_interrupted(
    desk: Desk, cli: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "orders.parquet", 10)
    monkeypatch.setattr("signals.importing.CHUNK_EVENTS", 3)
    calls = []

    def away(*given: Any, patience: float) -> Any:
        calls.append(given)
        if len(calls) == 3:
            raise Unavailable("The database")
        return admit(*given, patience=patience)

    monkeypatch.setattr("signals.importing.admit", away)
    failed = cli.invoke(import_command, ["events", "orders.parquet", "--mapping", "plan.json"])
    assert isinstance(failed.exception, Unavailable)
    assert "Everything up to row 6 is taken; go on with --from 7." in failed.output
    assert "4 taken, 0 known already" in loaded(cli, "orders.parquet", "--mapping", "plan.json", "--from", "7").output
    assert desk.rows("SELECT count(*) FROM event") == [(10,)]


@pytest.mark.parametrize(
    ("encoding", "named"),
    [
        ("utf-8", None), ("utf-8-sig", None), ("utf-16", None), ("utf-32", None), ("cp1252", "cp1252"),
        ("latin-1", "ISO-8859-1"), ("utf-16-le", "utf-16-le"), ("utf-8-sig", "UTF8"), ("utf-16", "utf-16-le"),
    ],
)  # fmt: skip
def test_it_reads_text_as_it_is_written(
    desk: Desk, cli: CliRunner, tmp_path: Path, encoding: str, named: str | None
) -> None:
    plan = {"type": "identify", "columns": {name: name for name in ("userId", "timestamp", "traits.city")}}
    (tmp_path / "cities.json").write_text(json.dumps(plan))
    text = "userId,timestamp,traits.city\nu1,2026-02-01T09:00:00Z,Müllheim\n"
    (tmp_path / "seen.csv").write_bytes(text.encode(encoding))
    loaded(cli, "seen.csv", "--mapping", "cities.json", *(("--encoding", named) if named else ()))
    assert desk.state(desk.root("user_id", "u1")).traits["city"] == "Müllheim"


def test_it_takes_nothing_of_a_text_that_is_not_written_as_told(desk: Desk, cli: CliRunner, tmp_path: Path) -> None:
    def refused(name: str, *arguments: str) -> str:
        result = cli.invoke(import_command, [*arguments, name])
        assert isinstance(result.exception, InvalidInput), result.output
        return str(result.exception)

    row = "u{},2026-02-01T09:00:00Z,Seen,Bonn\n"
    lines = ["userId,timestamp,event,properties.city\n", *(row.format(number) for number in range(50_000))]
    lines.insert(40_001, "u1,2026-02-01T09:00:00Z,Seen,M\u00fcllheim\n")
    (tmp_path / "seen.csv").write_bytes("".join(lines).encode("cp1252"))
    said = refused("seen.csv", "events")
    assert "seen.csv, line 40002" in said
    assert "is not UTF-8: say how it is written by --encoding" in said
    (tmp_path / "wide.csv").write_bytes("".join(lines[:3]).encode("utf-16-le"))
    assert "utf-16-le" in refused("wide.csv", "events")
    (tmp_path / "cut.csv").write_bytes(lines[0].encode() + "ü".encode()[:1])
    assert "cut.csv, line 2" in refused("cut.csv", "events")
    assert "--encoding: is no encoding of text" in refused("seen.csv", "events", "--encoding", "hex")
    (tmp_path / "feed.tsv").write_bytes("id\ttitle\tprice\np1\tSch\u00fcrze\t80 EUR\n".encode("cp1252"))
    assert "feed.tsv, line 2" in refused("feed.tsv", "products")
    (tmp_path / "feed.xml").write_bytes(b'<?xml version="1.0" encoding="shift_jis"?><rss><item><id>1</id></item></rss>')
    assert "names an encoding that cannot be read here" in refused("feed.xml", "products")
    assert desk.rows("SELECT (SELECT count(*) FROM event) + (SELECT count(*) FROM product)") == [(0,)]
    result = cli.invoke(import_command, ["products", "--encoding", "cp1252", "feed.tsv"], catch_exceptions=False)
    assert result.exit_code == 0
    assert desk.rows("SELECT title FROM product") == [("Schürze",)]


def test_it_says_where_to_go_on_after_ctrl_c(desk: Desk, cli: CliRunner, tmp_path: Path) -> None:
    rows = 60_000
    lines = [f"u{number % 500},2026-02-01T09:00:00Z,Seen,m{number}" for number in range(rows)]
    (tmp_path / "seen.csv").write_text("\n".join(["userId,timestamp,event,messageId", *lines]))
    command = [str(Path(sys.executable).parent / "latebind"), "import", "events", "seen.csv"]
    # Whoever is started in the background ignores interrupts, and so does what it starts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        signal.signal(signal.SIGINT, before)
        assert process.stderr
        assert " rows, " in process.stderr.readline(), "the first chunk is in"
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        process.wait(60)
    assert process.returncode == 130
    assert "Traceback" not in said
    found = re.fullmatch(r"Everything up to row (\d+) is taken; go on with --from (\d+)\.", said.splitlines()[-1])
    assert found
    (taken,) = desk.rows("SELECT count(*) FROM event")[0]
    assert taken == int(found[1]) == int(found[2]) - 1
    assert f"{rows - taken} taken, 0 known already" in loaded(cli, "seen.csv", "--from", found[2]).output


def test_it_says_clearly_what_it_cannot_read(cli: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: str) -> InvalidInput:
        result = cli.invoke(import_command, ["events", *arguments])
        assert isinstance(result.exception, InvalidInput), result.output
        return result.exception

    written(tmp_path / "orders.parquet", 3)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no more")
    assert "is not a Parquet file" in str(refused("broken.parquet", "--mapping", "plan.json"))
    assert "no column is named" in str(refused("orders.parquet"))
    (tmp_path / "lines.jsonl").write_text("{}")
    assert refused("lines.jsonl", "--mapping", "plan.json").field == "--mapping"
    for name, plan in (("other", PLAN | {"columns": PLAN["columns"] | {"colour": "properties.colour"}}), ("bad", [])):  # type: ignore[operator]
        (tmp_path / f"{name}.json").write_text(json.dumps(plan))
    assert "no column colour" in str(refused("orders.parquet", "--mapping", "other.json"))
    assert refused("orders.parquet", "--mapping", "bad.json").field == "mapping"
    assert refused("lines.jsonl", "--source", "Latebind").field == "--source"
    monkeypatch.setattr("workers.parquet.MOST_BYTES", 10)
    assert "smaller row groups" in str(refused("orders.parquet", "--mapping", "plan.json"))
    monkeypatch.setattr("workers.commands.importing.find_spec", lambda name: None)
    assert "pip install 'latebind[parquet]'" in str(refused("orders.parquet", "--mapping", "plan.json"))


@pytest.mark.parametrize(
    ("value", "kind", "made"),
    [
        ("5", "text", "5"), (5, "text", 5), ("5", "number", 5), ("5.50", "number", 5.5), ("1e400", "number", None),
        ("NaN", "number", None), ("5.5", "whole", None), (Decimal("5.00"), "whole", 5), (True, "number", None),
        ("Yes", "boolean", True), ("0", "boolean", False), ("maybe", "boolean", None), (True, "boolean", True),
        ("2026-02-01", "moment", "2026-02-01T00:00:00+01:00"),
        (date(2026, 7, 1), "moment", "2026-07-01T00:00:00+02:00"),
        (datetime(2026, 2, 1, 9, tzinfo=UTC), "moment", "2026-02-01T09:00:00+00:00"), (5, "moment", None),
        ('{"a": [1]}', "json", {"a": [1]}), ("{", "json", None), ({"a": Decimal("1.5"), "b": None}, "json", {"a": 1.5}),
        (b"x\xff", "text", "x\ufffd"), ([date(2026, 2, 1)], "text", ["2026-02-01"]),
    ],
)  # fmt: skip
def test_it_makes_of_a_column_what_it_is_told(value: Any, kind: str, made: Any) -> None:
    plan = {"columns": {"it": {"to": "properties.it", "as": kind}, "id": "messageId"}, "event": "E",
            "timezone": "Europe/Vienna"}  # fmt: skip
    rows = Rows(plan_from(json.dumps(plan).encode()))
    call = called(rows, {"it": value, "id": "m1"})
    if made is None:
        assert isinstance(call, BadRow)
        assert call.field == "it"
    else:
        assert isinstance(call, bytes)
        assert json.loads(call) == {"type": "track", "event": "E", "properties": {"it": made}, "messageId": "m1"}


@pytest.mark.parametrize(
    ("plan", "field"),
    [
        (RowPlan({"a": "timestamp"}, type="walk"), "type"),
        (RowPlan({"a": "timestamp"}, timezone="Vienna/Inner"), "timezone"),
        (RowPlan({"a": "total", "b": "timestamp"}), "columns.a"),
        (RowPlan({"a": "properties."}), "columns.a"),
        (RowPlan({"a": "properties.a.b.c.d.e"}), "columns.a"),
        (RowPlan({"a": "timestamp"}, values={"total": 1}), "values.total"),
        (RowPlan({"a": "timestamp", "b": "timestamp"}), "columns"),
        (RowPlan({"a": "timestamp", "b": "traits.address", "c": "traits.address.city"}), "columns"),
        (RowPlan({"a": "userId"}), "columns"),
        (RowPlan({"a": "timestamp"}, decimal=";"), "decimal"),
    ],
)
def test_it_refuses_a_mapping_that_is_not_sound(plan: RowPlan, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Rows(plan)
    assert refused.value.field == field


def test_it_names_the_column_that_is_made_what_there_is_not_and_what_there_is() -> None:
    plan = {"columns": {"day": "timestamp", "goods": {"to": "properties.products", "as": "jason"}}}
    with pytest.raises(InvalidInput) as refused:
        Rows(plan_from(json.dumps(plan).encode()))
    assert refused.value.field == "columns.goods.as"
    assert str(refused.value).endswith("must be one of text, number, whole, boolean, moment, json")


@pytest.mark.parametrize(
    ("mark", "told", "number"),
    [
        (",", "59,90", 59.9), (",", "1.234,50", 1234.5), (",", "-1.234.567", -1234567), (",", "7", 7),
        (",", 59.5, 59.5),
        (".", "59.90", 59.9), (".", "1234.50", 1234.5),
    ],
)  # fmt: skip
def test_it_reads_numbers_by_the_decimal_mark_of_the_mapping(mark: str, told: Any, number: float) -> None:
    rows = Rows(plan_from(json.dumps(PLAN | {"decimal": mark}).encode()))
    made = json.loads(rows.call({"customer": "c1", "bought": "2026-03-01", "amount": told}))
    assert made["properties"]["total"] == number


@pytest.mark.parametrize(
    ("mark", "told", "words"),
    [
        (".", "59,90", 'must be a number such as 59.90; with "decimal": "," in the mapping commas are read'),
        (".", "1.234,50", 'must be a number such as 59.90; with "decimal": "," in the mapping commas are read'),
        (".", "much", "must be a number"),
        (",", "59.90", 'must be a number such as 59,90, as "decimal" of the mapping says'),
        (",", "1.2.3,4", 'must be a number such as 59,90, as "decimal" of the mapping says'),
        (",", "5,9,0", "must be a number"),
    ],
)
def test_it_says_how_a_number_is_written_that_it_cannot_read(mark: str, told: str, words: str) -> None:
    rows = Rows(plan_from(json.dumps(PLAN | {"decimal": mark}).encode()))
    with pytest.raises(InvalidInput) as refused:
        rows.call({"customer": "c1", "bought": "2026-03-01", "amount": told})
    assert (refused.value.field, refused.value.message) == ("amount", words)
    with pytest.raises(InvalidInput, match="decimal"):
        Rows(plan_from(json.dumps(PLAN | {"decimal": ";"}).encode()))


def test_it_says_which_delimiter_a_file_seems_to_want(cli: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("customer;bought;order;amount;goods\nc1;2026-03-01;o1;59,90;\n")
    (tmp_path / "plan.json").write_text(json.dumps(PLAN | {"decimal": ","}))
    asked = ["events", "orders.csv", "--mapping", "plan.json", "--source", "till"]
    refused = cli.invoke(import_command, asked)
    assert "names one column, 'customer;bought;order;amount;goods': perhaps it wants --delimiter semicolon" in str(
        refused.exception
    )
    shown = loaded(cli, *asked[1:], "--delimiter", "semicolon", "--preview", "1").output
    assert '"total": 59.9' in shown or '"total":59.9' in shown
