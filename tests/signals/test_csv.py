"""CSV as it is written: quotation marks, long fields, and rows that are wrong among sound ones."""

from __future__ import annotations

import csv
import io
import itertools
import json
import random
import re

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
        ('ann,2026-03-01,"5 inch', 'eve,2026-03-01,17""'), ('"ann,2026-03-01,hat', 'eve,2026-03-01,7" wide'),
        ('ann,2026-03-01,"5" wide', "eve,2026-03-01,hat"), ('ann,2026-03-01,"5 inch', "eve,2026-03-01,hat"),
    ],
)  # fmt: skip
def test_it_refuses_a_row_whose_quotation_mark_would_swallow_others_and_takes_those(first: str, last: str) -> None:
    between = [f"{name},2026-03-01,hat" for name in ("bob", "cid", "dan")]
    wrong, *others = told("\n".join(["customer,when,about", first, *between, last, ""]))
    assert isinstance(wrong, BadRow)
    assert (wrong.field, wrong.body) == ("", b"")
    assert "has a quotation mark in line 2 that opens a field and closes none" in wrong.message
    assert users(others) == ["bob", "cid", "dan", "eve"]


def either(first: int, last: int) -> str:
    """What is wrong with lines of which nobody can tell whether they are a row."""
    return (
        f"lines {first} to {last} are one row with a text of several lines, or several rows of which one has a"
        " quotation mark that closes none: put the text in one line, or leave the mark out"
    )


@pytest.mark.parametrize(
    ("head", "lines"),
    [
        ("when,about,customer", ['2026-01-01,"diary:', "2026-01-05, met bob", '2026-01-06, met cid",ann']),
        ("when,about,customer", ['2026-01-01,"diary:', "2026-01-05,met bob,bob", 'and cid",ann']),
        ("when,about,customer", ['2026-01-01,"a ""diary""', '2026-01-05,""met"",bob', 'and cid",ann']),
        ("about,when,customer", ['"diary:', "met,2026-01-05,bob", 'and cid",2026-01-01,ann']),
        ("about,when,customer", ['"diary:', "met,2026-01-05,bob", "", 'cid",2026-01-01,ann']),
        ("about,when,customer", ['"a', 'diary:",2026-01-01,"ann', "met,2026-01-05,bob", '"']),
        # One field too many.
        ("about,when,customer", ['x,"a', 'b",2026-01-01,ann']),
        ("customer,when,about", ['ann,2026-01-01,"two', "bob,2026-01-02,x", 'cid,2026-01-03,5",2']),
        ("customer,when,about", ['ann,,"hat', "bob,,x", 'cid,2026-01-03,5",2']),
        ("customer,when,about", ['ann,2026-01-01,"5 inch', 'bob,2026-01-02,felt, 7"']),
        # The first line looks like a row, and gives this one no moment.
        ("about,customer,when", ['"hat,bob,2026-01-02', '"",a,",ann,2026-01-01']),
        # No moment, or a text that is none, so that no row is made of it in any way.
        ("customer,when,about", ['ann,,"two', "bob,2026-01-02,x", 'lines"']),
        ("customer,about,when", ['ann,"two,2026-01-02', 'lines"']),
        ("customer,when,about", ['ann,2026-01-01,"two', "bob,2026-01-02,x", '"']),
        ("customer,when,about", ['"ann,2026-01-01,x', "bob,2026-01-02,x", 'cid,2026-01-03,17"']),
    ],
)
def test_it_makes_no_row_of_lines_that_may_be_a_text_of_a_row(head: str, lines: list[str]) -> None:
    sound = {"customer": "dan", "when": "2026-03-01", "about": "hat"}
    row = ",".join(sound[name] for name in head.split(","))
    for end in ("\n", "\r\n"):
        calls = told(end.join([head, row, *lines, row, ""]))
        assert users(calls) == ["dan", either(3, 2 + len(lines)), "dan"]
        assert calls[1] == BadRow("", either(3, 2 + len(lines)), b"")


@pytest.mark.parametrize(("between", "is_near"), [(["x"] * 255, True), (["x"] * 256, False), (["x" * 65_600], False)])
def test_it_reads_the_rows_below_a_mark_that_closes_far_below_them(between: list[str], is_near: bool) -> None:
    lines = ["customer,when,about", 'ann,2026-03-01,"5 inch', "bob,2026-03-01,", *between, 'cid,2026-03-01,7"', ""]
    first, *others = users(told("\n".join([*lines, "dan,2026-03-01,"])))
    assert others[-1] == "dan"
    if is_near:
        assert [first, *others] == [either(2, len(lines) - 1), "dan"]
    else:
        assert "has a quotation mark in line 2 that opens a field and closes none" in first
        assert [user for user in others if " " not in user] == ["bob", "cid", "dan"]


@pytest.mark.parametrize(
    ("head", "first", "last"),
    [
        ("customer,when,about,x", 'ann,2026-03-01,"hat', 'cid,2026-03-03,"",2'),
        ("customer,when,about,x", 'ann,2026-03-01,"hat', 'cid,2026-03-03,"5"" hat",2'),
        ("customer,when,about", 'ann,,"hat', 'cid,2026-03-03,5" wide'),
        ("customer,when,about", 'ann,May,"hat', 'cid,2026-03-03,"5"'),
        ("customer,x,about,when", 'ann,,"hat,2026-03-01', 'cid,,"hat",2026-03-03'),
        ("customer,x,about,when", 'ann,,",2026-03-01', 'cid,,"a\nhat",2026-03-03'),
    ],
)
@pytest.mark.parametrize("between", [[], ["bob"]])
def test_no_row_is_gone_below_a_mark_whose_line_is_no_row_by_itself(
    head: str, first: str, last: str, between: list[str]
) -> None:
    wrong, *others = users(told(strayed(head, first, between, last)))
    assert "has a quotation mark in line 2 that opens a field and closes none" in wrong
    assert others == [*between, "cid", "dan"]


@pytest.mark.parametrize(
    ("head", "first", "last", "below"),
    [
        ("customer,when,about,x", 'ann,2026-03-01,"hat', 'cid,2026-03-03,5",2', 0),
        ("customer,when,about,x", 'ann,2026-03-01,"hat', 'cid,2026-03-03,"\nhat",2', 1),
        ("customer,when,about", 'ann,,"hat', 'cid,2026-03-03,5"', 0),
        ("customer,when,about", 'ann,May,"hat', 'cid,2026-03-03,5"', 0),
        ("customer,x,about,when", 'ann,,"hat,2026-03-01', 'cid,,", hat",2026-03-03', 0),
        ("customer,x,about,when", 'ann,,",2026-03-01', 'cid,,"\nhat",2026-03-03', 1),
    ],
)
@pytest.mark.parametrize("between", [[], ["bob"]])
def test_rows_down_to_where_a_mark_too_many_closes_are_refused_together(
    head: str, first: str, last: str, below: int, between: list[str]
) -> None:
    wrong, *others = users(told(strayed(head, first, between, last)))
    assert wrong == either(2, 3 + len(between))
    # What is left of a row is made none.
    assert len(others) == below + 1
    assert [user for user in others if " " not in user] == ["dan"]


def strayed(head: str, first: str, between: list[str], last: str) -> str:
    """A file in which a mark too many stands in the first row, one may be in the last, and dan's below is sound."""
    sound = dict(zip(("customer", "when", "about", "x"), ("{}", "2026-03-02", "hat", "1"), strict=True))
    row = ",".join(sound[name] for name in head.split(","))
    return "\n".join([head, first, *map(row.format, between), last, row.format("dan"), ""])


def part(line: int) -> str:
    """What is wrong with a line that is no row."""
    return f"this is part of a row, in line {line} below a quotation mark that closes no field"


def test_it_names_the_lines_of_a_row_that_is_refused() -> None:
    read = users(told('customer,when,about\nann,2026-03-03,"two\na, b\nlines",2\ndan,2026-03-04,y\n'))
    assert read == ["the row has 4 fields, the first line names 3 (lines 2 to 4)", "dan"]
    read = users(told('customer,when,about\nann,May,"two\nlines"\ndan,2026-03-04,y\neve,May,\n'))
    no_moment = "must be a moment such as 2026-03-01 09:30:00"
    assert read == [f"{no_moment} (lines 2 to 3)", "dan", no_moment]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_it_reads_texts_of_several_lines_in_any_column(order: tuple[int, ...]) -> None:
    names = ["ann\nof, Ulm", "bob\n", "\n\ncid", "dan"]
    texts = ["two, 2026-03-02\nlines", "\n, b,", "2026-03-01", "a\nb\nof, Ulm"]
    rows = [[name, "2026-03-01", text, text] for name, text in zip(names, texts, strict=True)]
    file = io.StringIO()
    csv.writer(file).writerows([row[place] for place in order] for row in [["customer", "when", "about", "x"], *rows])
    assert users(told(file.getvalue())) == names


HEAD = ("customer", "when", "about")


def written(draw: random.Random, rows: list[list[str]]) -> str:
    """A file of these rows, however it is quoted."""
    file = io.StringIO()
    csv.writer(file, quoting=draw.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))).writerows(rows)
    return file.getvalue()


@pytest.mark.parametrize("seed", range(4))
def test_no_row_is_gone_of_a_file_with_a_quotation_mark_too_many(seed: int) -> None:
    draw = random.Random(seed)
    parts = ("a", " ", ",", "\n", '"', "x,y", "2026", "well, fine", '5"', "\r\n")
    for _ in range(500):
        head, rows = [*HEAD, "x"][: draw.randrange(3, 5)], []
        draw.shuffle(head)
        names = [f"u{number}u" for number in range(draw.randrange(1, 6))]
        for name in names:
            row = {column: "".join(draw.choices(parts, k=draw.randrange(4))) for column in head}
            rows.append(list((row | {"customer": name, "when": "2026-03-01"}).values()))
        text = written(draw, rows)
        cut = draw.randrange(len(text) + 1)
        broken = f'{",".join(head)}\n{text[:cut]}"{text[cut:]}'
        calls = told(broken)
        read = "".join(str(json.loads(call).get("userId")) for call in calls if isinstance(call, bytes))
        named = re.findall(
            r"lines (\d+) to (\d+)", " ".join(call.message for call in calls if isinstance(call, BadRow))
        )
        lines = list(io.StringIO(broken, newline=""))
        refused = "".join(line for first, last in named for line in lines[int(first) - 1 : int(last)])
        gone = [name for name in names if name not in (read + refused).replace('"', "")]
        assert len(gone) <= sum(isinstance(call, BadRow) or "userId" not in json.loads(call) for call in calls), text


def test_it_makes_no_row_of_what_a_text_of_several_lines_went_on_with() -> None:
    lines = ["customer,when,about", 'ann,2026-03-01,"a "red"', "hat", "of, felt", '"', "bob,2026-03-01,"]
    wrong, *below, bob = told("\n".join(lines))
    assert "line 2" in users([wrong])[0]
    assert all(isinstance(row, BadRow) for row in below)
    assert users(below)[0] == part(3)
    assert users([bob]) == ["bob"]


@pytest.mark.parametrize("seed", range(4))
def test_it_reads_every_file_that_is_written_as_csv_should_be_as_others_do(seed: int) -> None:
    draw = random.Random(seed)
    parts = ("a", " ", ",", ";", "\n", "\r", "\r\n", "\n\n", '"', '""', "x,y", "2026", "ü", "")
    for _ in range(300):
        head, lines = draw.sample(HEAD, 3), []
        for _ in range(draw.randrange(6)):
            row = {name: "".join(draw.choices(parts, k=draw.randrange(6))) for name in head} | {"when": "2026-03-01"}
            lines.append(list(row.values()))
        file = written(draw, [head, *lines])
        plan = Rows(RowPlan(columns={"customer": "userId", "when": "timestamp", "about": "event"}))
        rows = list(csv.reader(io.StringIO(file, newline=""), strict=True))[1:]
        calls = [called(plan, dict(zip(head, row, strict=True))) for row in rows]
        assert list(from_csv(io.BytesIO(file.encode()), lambda _: plan)) == calls  # noqa: B023 - used at once


@pytest.mark.parametrize("seed", range(4))
def test_it_reads_the_rows_of_csv_whatever_their_texts_are_or_names_their_lines(seed: int) -> None:
    draw = random.Random(seed)
    parts = ("a", ",", '"', 'b"', "2026-01-05", "bob,2026-01-05,x", "2026-01-05,x,bob", "x,bob,2026-01-05", "")
    plan = Rows(RowPlan(columns={"customer": "userId", "when": "timestamp", "about": "properties.about"}, event="Seen"))
    refused = 0
    for _ in range(300):
        head, lines = draw.sample(HEAD, 3), []
        for _ in range(draw.randrange(6)):
            told = {name: "\n".join(draw.choices(parts, k=draw.randrange(5))) for name in head}
            told["when"] = draw.choice(("2026-03-01", "2026-03-01", "May", ""))
            lines.append([*told.values(), "more"][: draw.choice((2, 3, 3, 3, 4))])
        file = written(draw, [head, *lines])
        reader = csv.reader(io.StringIO(file, newline=""), strict=True)
        next(reader)
        last = 1
        calls = from_csv(io.BytesIO(file.encode()), lambda _: plan)
        for row, call in zip(reader, calls, strict=True):
            first, last = last + 1, reader.line_num
            if isinstance(call, bytes):
                assert call == called(plan, dict(zip(head, row, strict=False)))
            elif first < last:
                assert f"lines {first} to {last}" in call.message
                refused += call.message == either(first, last)
    assert refused > 50


def test_a_text_of_several_lines_is_read_below_however_many_marks_that_close_nowhere() -> None:
    broken, two = 'bob,2026-03-01,"hat\nof "felt"\n', 'ann,2026-03-01,"two\nlines"\n'
    calls = told("customer,when,about\n" + broken * 1_001 + two)
    assert calls[-1:] == told("customer,when,about\n" + two)
    assert [user for user in users(calls) if " " not in user] == ["ann"]


def test_it_looks_for_rows_in_texts_that_end_far_below_so_often_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signals.csvlines.NEAR_LINES", 2)
    monkeypatch.setattr("signals.csvlines.MOST_IN_VAIN", 10)
    near, long = 'ann,2026-03-01,"two\nlines"', 'bob,2026-03-01,"a\nb\nc\nd"'
    far = 'cid,2026-03-01,"hat\ndan,2026-03-01,hat\na\nb\n5"'
    read = users(told("\n".join(["customer,when,about", near, long, far, near, long, "eve,2026-03-01,"])))
    assert [user for user in read if " " not in user] == ["ann", "bob", "dan", "ann", "eve"]
    assert "has a quotation mark in line 15 that opens a field and closes none" in " ".join(read)


def test_it_refuses_a_field_that_is_too_long_and_takes_the_rows_below(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signals.csvlines.MOST_LETTERS", 100)
    for long in ("x" * 200, '"' + "x\n" * 200 + '"'):
        refused = users(told(f"customer,when,about\nann,2026-03-01,{long}\nbob,2026-03-01,"))
        assert ("has a field of more than 100 letters in line 2" in refused[0]) == ("\n" not in long)
        assert refused[-1] == "bob"
        assert len(refused) == (2 if "\n" not in long else 202)


def test_a_row_of_several_lines_has_so_many_letters_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signals.csvlines.MOST_LETTERS", 100)
    first = f'ann,2026-03-01,"{"x" * 50}'
    assert users(told("customer,when,about\n" + f'{first}\nlines"\n' * 5)) == ["ann"] * 5
    for more, below in ((f'{"y" * 60}"', part(3)), (f'bob",2026-03-01,"\n{"y" * 20}\nlines"', 'bob"')):
        wrong, *others = users(told(f"customer,when,about\n{first}\n{more}\ncid,2026-03-01,"))
        assert "has a quotation mark in line 2 that opens a field and closes none" in wrong
        assert others == [below, "cid"]
