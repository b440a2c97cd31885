"""Comparisons in mails: a number that came as text is a number, and what cannot be compared breaks nothing."""

from __future__ import annotations

import pytest

from render import mailpage
from render.mailtext import compare


@pytest.mark.parametrize(
    ("left", "name", "right", "holds"),
    [
        (150, "gt", 100, True),
        ("150", "gt", 100, True),
        ("0", "eq", 0, True),
        ("-1.5", "lt", 0, True),
        ("many", "gt", 100, False),
        ("many", "lteq", 100, False),
        ("many", "eq", 100, False),
        ("many", "ne", 100, True),
        ("nan", "gt", 0, False),
        ("9" * 400, "gt", 0, False),
        ("0123", "eq", "123", False),
        ("Wien", "lt", "Zug", True),
        ("ien", "in", "Wien", True),
        (5, "in", "Wien", False),
        ("Wien", "in", 5, False),
        ("x", "notin", 5, True),
        ([1], "lt", {}, False),
    ],
)
def test_it_compares_what_can_be_compared_and_raises_nothing(
    left: object, name: str, right: object, holds: bool
) -> None:
    assert compare(left, name, right) is holds


@pytest.mark.parametrize(
    ("points", "page"), [(150, "gold"), ("150", "gold"), ("many", "none"), (None, "none"), (1200, "more")]
)
def test_it_fills_a_page_as_the_mail_was_filled(points: object, page: str) -> None:
    field = '(profile.points|default("0"))'
    source = f"{{{{ 'gold' if 100 < {field} <= 999 else 'more' if {field} > 999 else 'none' }}}}"
    assert mailpage.fill(source, {"points": points}, {}, {}) == page
