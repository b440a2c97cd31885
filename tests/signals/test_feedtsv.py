"""Tab-separated feeds: quotation marks in them, and rows that are wrong."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Sequence

import pytest

from base.errors import InvalidInput
from signals import feedtsv
from signals.feed import change, entries

HEAD = ("id", "title", "price", "description")


def read(*rows: Sequence[str] | str) -> list[dict[str, str]]:
    """The items of a feed of these rows."""
    lines = ["\t".join(HEAD), *(row if isinstance(row, str) else "\t".join(row) for row in rows)]
    return list(entries(io.BytesIO("\n".join(lines).encode()), "tsv"))


def item(*values: str) -> dict[str, str]:
    return dict(zip(HEAD, values, strict=False))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('"Classic', '"Classic'), ('Screen of 17" size', 'Screen of 17" size'), ('"Classic" shoe', '"Classic" shoe'),
        ('"Screen of 17"" size"', 'Screen of 17" size'), ('"Red, or blue"', "Red, or blue"), ('""', ""), ('"', '"'),
    ],
)  # fmt: skip
def test_it_takes_a_quotation_mark_for_one_unless_the_value_is_in_them(written: str, meant: str) -> None:
    for place in range(1, len(HEAD)):
        rows = [
            ["1", "Hat", "17.00 EUR", "Warm"],
            ["2", "Cap", "18.00 EUR", "Cool"],
            ["3", "Tie", "19.00 EUR", '6" wide'],
        ]
        rows[0][place] = written
        told = [item(*row) for row in rows]
        told[0][HEAD[place]] = meant
        assert read(*rows) == told


def test_it_reads_values_in_quotation_marks_over_lines_and_tabs() -> None:
    assert read('1\tHat\t17.00 EUR\t"Warm.\nSoft.\n\nRed ""as wine"""', ("2", "Cap", "18.00 EUR", "Cool")) == [
        item("1", "Hat", "17.00 EUR", 'Warm.\nSoft.\n\nRed "as wine"'),
        item("2", "Cap", "18.00 EUR", "Cool"),
    ]
    assert read('1\t"Hat\nof felt"\t17.00 EUR\tWarm') == [item("1", "Hat\nof felt", "17.00 EUR", "Warm")]
    assert read('1\t"Hat\tof felt"\t17.00 EUR\tWarm') == [item("1", "Hat\tof felt", "17.00 EUR", "Warm")]
    assert read('1\t"Hat\tof felt"\t17.00 EUR\t') == [item("1", "Hat\tof felt", "17.00 EUR", "")]
    assert read('1\t"Hat\tof felt"\t17.00 EUR\tWarm\t') == [item("1", "Hat\tof felt", "17.00 EUR", "Warm")]


def test_it_looks_for_the_end_of_a_value_so_often_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedtsv, "MOST_OPEN", 2)
    plain, long = ("1", "Hat", "17.00 EUR", '"Warm'), '2\tCap\t18.00 EUR\t"Cool.\nLight."'
    assert read(plain, long, plain) == [item(*plain), item("2", "Cap", "18.00 EUR", "Cool.\nLight."), item(*plain)]
    assert read(plain, plain, long)[2:] == [item("2", "Cap", "18.00 EUR", '"Cool.'), item('Light."')]


def test_it_loses_no_item_below_a_mark_that_is_never_closed() -> None:
    below = [(str(number), f'"Hat {number}', "17.00 EUR", '"Warm') for number in range(300)]
    assert read(*below) == [item(*row) for row in below]


def test_it_refuses_an_item_with_more_values_than_columns_and_takes_the_others() -> None:
    broken, sound = read(("1", "Hat", "of felt", "17.00 EUR", "Warm"), ("2", "Cap", "18.00 EUR"))
    with pytest.raises(InvalidInput, match="has 5 values, the first line names 4"):
        change(broken)
    assert broken["id"] == "1"
    assert change(sound).whole().title == "Cap"


def test_it_refuses_a_feed_of_very_many_columns() -> None:
    for columns in (feedtsv.MOST_COLUMNS, feedtsv.MOST_COLUMNS + 1):
        feed = io.BytesIO(("id" + "\tmore" * (columns - 1) + "\n1\n").encode())
        if columns == feedtsv.MOST_COLUMNS:
            assert list(entries(feed, "tsv")) == [{"id": "1"}]
        else:
            with pytest.raises(InvalidInput, match="the first line must name at most 1,000 columns"):
                list(entries(feed, "tsv"))


def test_it_takes_lines_that_end_in_a_tab() -> None:
    assert read("1\tHat\t17.00 EUR\tWarm\t", "2\tCap\t18.00 EUR\t\t\t") == [
        item("1", "Hat", "17.00 EUR", "Warm"),
        item("2", "Cap", "18.00 EUR", ""),
    ]


def test_it_takes_a_value_of_any_length() -> None:
    (found,) = read(("1", "Hat", "17.00 EUR", "warm " * 60_000))
    assert change(found).whole().price_cents == 1700


def test_it_needs_no_more_memory_for_a_value_in_quotation_marks_than_for_another() -> None:
    title = "x" * 3_000_000
    peaks = []
    for written in (title, f'"{title}"', '"' + '""' * 1_500_000 + '"'):
        tracemalloc.start()
        assert len(read(("1", written, "17.00 EUR", "Warm"))) == 1
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 2 * peaks[0]
