"""CSV as it is written: quotation marks, long fields, and rows that are wrong among sound ones."""

from __future__ import annotations

import csv
import io
import json
import random

import pytest

from base.errors import InvalidInput
from signals.importing import BadRow
from signals.signal import EVENT_BYTES
from signals.tabular import RowPlan, Rows, called, from_csv


def told(body: str) -> list[bytes | BadRow]:
    """What a CSV file says by a mapping of its customers and moments."""
    plan = RowPlan(columns={"customer": "userId", "when": "timestamp"}, event="Seen")
    return list(from_csv(io.BytesIO(body.encode()), lambda head: Rows(plan)))


def test_it_refuses_a_row_that_could_not_be_told_from_a_new_one() -> None:
    rows = Rows(RowPlan(columns={"who": "userId", "when": "timestamp", "id": "messageId"}, event="Met"))
    for told in ({"who": "ann", "when": "2026-03-01T10:00:00Z"}, {"who": "ann", "id": "m1"}):
        assert rows.call(told)
    for told in ({"who": "ann", "when": "", "id": ""}, {"who": "ann"}):
        with pytest.raises(InvalidInput, match="when: must be given"):
            rows.call(told)
    assert Rows(RowPlan(columns={"who": "userId"}, values={"messageId": "once"}, event="Met")).call({"who": "ann"})


def test_it_refuses_a_file_with_two_columns_of_a_name_that_it_is_to_read() -> None:
    with pytest.raises(InvalidInput, match="columns: the file has two columns when"):
        told("customer,when,when\nann,2026-03-01,2026-04-01\n")
    assert users(told("customer,about,when,about\nann,one,2026-03-01,other\n")) == ["ann"]


def test_it_leaves_out_a_long_field_that_no_call_takes_and_takes_the_other_rows() -> None:
    long = "x" * 70_000
    calls = told(f"customer,when,about\nann,2026-03-01,{long}\n{long},2026-03-01,\nbob,2026-03-01,")
    # One that a call takes is refused where the call is read: an event has at most so many bytes.
    assert [isinstance(call, bytes) and len(call) > EVENT_BYTES for call in calls] == [False, True, False]


def test_it_says_where_a_quotation_mark_opens_that_is_never_closed() -> None:
    calls = told('customer,when,about\nann,2026-03-01,"two\nlines"\nbob,2026-03-01,"hat\ncid,2026-03-01,\n')
    assert "has a quotation mark in line 4 that opens a field and closes none" in users(calls)[1]
    assert users(calls)[::2] == ["ann", "cid"]


def users(calls: list[bytes | BadRow]) -> list[str]:
    """Whom each row is about; of one that is refused, what is wrong with it."""
    return [call.message if isinstance(call, BadRow) else json.loads(call)["userId"] for call in calls]


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ('ann,2026-03-01,"5 inch', 'eve,2026-03-01,"quoted"'), ('ann,2026-03-01,"5 inch', 'eve,2026-03-01,7" wide'),
        ('ann,2026-03-01,"5 inch', 'eve,2026-03-01,17"'), ('ann,2026-03-01,"5 inch', 'eve,2026-03-01,"'),
        ('ann,2026-03-01,"5" wide', "eve,2026-03-01,hat"), ('"ann,2026-03-01,hat', 'eve,2026-03-01,17"'),
        ('ann,2026-03-01,"5 inch', "eve,2026-03-01,hat"),
    ],
)  # fmt: skip
def test_it_refuses_a_row_whose_quotation_mark_would_swallow_others_and_takes_those(first: str, last: str) -> None:
    between = [f"{name},2026-03-01,hat" for name in ("bob", "cid", "dan")]
    wrong, *others = told("\n".join(["customer,when,about", first, *between, last, ""]))
    assert isinstance(wrong, BadRow)
    assert (wrong.field, wrong.body) == ("", b"")
    assert "has a quotation mark in line 2 that opens a field and closes none" in wrong.message
    # A mark that opens the last of all is refused by itself, too.
    assert users(others)[:3] == ["bob", "cid", "dan"]
    assert "line 6" in users(others)[3] if last.endswith(',"') else users(others)[3:] == ["eve"]


def test_it_makes_no_row_of_what_a_text_of_several_lines_went_on_with() -> None:
    lines = ["customer,when,about", 'ann,2026-03-01,"a "red"', "hat", "of, felt", '"', "bob,2026-03-01,"]
    wrong, *below, bob = told("\n".join(lines))
    assert "line 2" in users([wrong])[0]
    assert all(isinstance(row, BadRow) for row in below)
    assert "is part of a row, in line 3 below a quotation mark that closes no field" in users(below)[0]
    assert users([bob]) == ["bob"]


@pytest.mark.parametrize("seed", range(4))
def test_it_reads_every_file_that_is_written_as_csv_should_be_as_others_do(seed: int) -> None:
    draw = random.Random(seed)
    parts = ("a", " ", ",", ";", "\n", "\r", "\r\n", "\n\n", '"', '""', "x,y", "2026", "ü", "")
    for _ in range(300):
        head = ["customer", "when", "about"]
        draw.shuffle(head)
        file = io.StringIO()
        writer = csv.writer(file, quoting=draw.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)))
        writer.writerow(head)
        for _ in range(draw.randrange(6)):
            row = {name: "".join(draw.choices(parts, k=draw.randrange(6))) for name in head} | {"when": "2026-03-01"}
            writer.writerow(row.values())
        plan = Rows(RowPlan(columns={"customer": "userId", "when": "timestamp", "about": "event"}))
        rows = list(csv.reader(io.StringIO(file.getvalue(), newline=""), strict=True))[1:]
        calls = [called(plan, dict(zip(head, row, strict=True))) for row in rows]
        assert list(from_csv(io.BytesIO(file.getvalue().encode()), lambda _: plan)) == calls  # noqa: B023 - used at once


def test_it_looks_for_the_end_of_so_many_marks_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signals.tabular.MOST_OPEN", 2)
    broken, two = 'bob,2026-03-01,"hat\nof "felt"', 'ann,2026-03-01,"two\nlines"'
    read = users(told("\n".join(["customer,when,about", broken, two, broken, two, "cid,2026-03-01,"])))
    assert [user for user in read if " " not in user] == ["ann", "cid"]


def test_it_refuses_a_field_that_is_too_long_and_takes_the_rows_below(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signals.tabular.MOST_LETTERS", 100)
    for long in ("x" * 200, '"' + "x\n" * 200 + '"'):
        refused = users(told(f"customer,when,about\nann,2026-03-01,{long}\nbob,2026-03-01,"))
        assert ("has a field of more than 100 letters in line 2" in refused[0]) == ("\n" not in long)
        assert refused[-1] == "bob"
        assert len(refused) == (2 if "\n" not in long else 202)
