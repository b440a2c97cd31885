"""CSV as it is written: quotation marks, long fields, and rows that are wrong among sound ones."""

from __future__ import annotations

import csv
import io
import itertools
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


@pytest.mark.parametrize(
    ("head", "first", "last"),
    [
        ("customer,when,about,x", 'ann,2026-03-01,"hat', 'cid,2026-03-03,5",2'),
        ("customer,when,about,x", 'ann,2026-03-01,"hat', 'cid,2026-03-03,"",2'),
        ("customer,when,about,x", 'ann,2026-03-01,"hat', 'cid,2026-03-03,"\nhat",2'),
        ("customer,when,about", 'ann,,"hat', 'cid,2026-03-03,5"'),
        ("customer,when,about", 'ann,May,"hat', 'cid,2026-03-03,5"'),
        ("customer,x,about,when", 'ann,,"hat,2026-03-01', 'cid,,", hat",2026-03-03'),
        ("customer,x,about,when", 'ann,,",2026-03-01', 'cid,,"\nhat",2026-03-03'),
    ],
)
@pytest.mark.parametrize("between", [[], ["bob"]])
def test_no_row_is_gone_below_a_mark_whose_line_is_no_row_by_itself(
    head: str, first: str, last: str, between: list[str]
) -> None:
    sound = dict(zip(("customer", "when", "about", "x"), ("{}", "2026-03-02", "hat", "1"), strict=True))
    row = ",".join(sound[name] for name in head.split(","))
    wrong, *others = users(told("\n".join([head, first, *map(row.format, between), last, row.format("dan"), ""])))
    assert "has a quotation mark in line 2 that opens a field and closes none" in wrong
    assert others == [*between, "cid", "dan"]


def test_it_refuses_rows_by_themselves_that_are_too_wide_together() -> None:
    read = users(told('customer,when,about\nann,,"hat\nbob,,x\ncid,2026-03-03,5",2\ndan,2026-03-04,y\n'))
    wide = "the row has 4 fields, the first line names 3"
    assert read == [wide, "must be given: loaded again, the row would count once more", wide, "dan"]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_it_reads_texts_of_several_lines_in_any_column(order: tuple[int, ...]) -> None:
    names = ["ann\nof, Ulm", "bob\n", "\n\ncid", "dan"]
    texts = ["two, 2026-03-02\nlines", "\n, b,", "2026-03-01", "a\nb\nof, Ulm"]
    rows = [[name, "2026-03-01", text, text] for name, text in zip(names, texts, strict=True)]
    file = io.StringIO()
    csv.writer(file).writerows([row[place] for place in order] for row in [["customer", "when", "about", "x"], *rows])
    assert users(told(file.getvalue())) == names


@pytest.mark.parametrize("seed", range(4))
def test_no_row_is_gone_of_a_file_with_a_quotation_mark_too_many(seed: int) -> None:
    draw = random.Random(seed)
    parts = ("a", " ", ",", "\n", '"', "x,y", "2026", "well, fine", '5"', "\r\n")
    for _ in range(500):
        head = ["customer", "when", "about", "x"][: draw.randrange(3, 5)]
        draw.shuffle(head)
        file = io.StringIO()
        writer = csv.writer(file, quoting=draw.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)))
        names = [f"u{number}u" for number in range(draw.randrange(1, 6))]
        for name in names:
            row = {column: "".join(draw.choices(parts, k=draw.randrange(4))) for column in head}
            writer.writerow((row | {"customer": name, "when": "2026-03-01"}).values())
        text = file.getvalue()
        cut = draw.randrange(len(text) + 1)
        calls = told(f'{",".join(head)}\n{text[:cut]}"{text[cut:]}')
        read = "".join(str(json.loads(call).get("userId")) for call in calls if isinstance(call, bytes)).replace(
            '"', ""
        )
        gone = [name for name in names if name not in read]
        assert len(gone) <= sum(isinstance(call, BadRow) or "userId" not in json.loads(call) for call in calls), text


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
    monkeypatch.setattr("signals.csvlines.MOST_OPEN", 2)
    broken, two = 'bob,2026-03-01,"hat\nof "felt"', 'ann,2026-03-01,"two\nlines"'
    read = users(told("\n".join(["customer,when,about", broken, two, broken, two, "cid,2026-03-01,"])))
    assert [user for user in read if " " not in user] == ["ann", "cid"]


def test_it_refuses_a_field_that_is_too_long_and_takes_the_rows_below(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signals.csvlines.MOST_LETTERS", 100)
    for long in ("x" * 200, '"' + "x\n" * 200 + '"'):
        refused = users(told(f"customer,when,about\nann,2026-03-01,{long}\nbob,2026-03-01,"))
        assert ("has a field of more than 100 letters in line 2" in refused[0]) == ("\n" not in long)
        assert refused[-1] == "bob"
        assert len(refused) == (2 if "\n" not in long else 202)
