"""The feature catalogue: complete, documented, and read right where nothing else tests it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from signals.features import CATALOGUE, bought_since, value
from signals.fold import fold_all
from signals.moments import unix_ms
from signals.state import ProfileState
from tests.signals.stories import CATEGORIES, MORNING, event, identify, item, order

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "feature-catalogue.md"
SHOES, SOCKS = CATEGORIES["shoes"], CATEGORIES["socks"]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def rows() -> list[str]:
    """The catalogue as the document's table has it."""
    return [
        f"| `{feature.name}` | {', '.join([*feature.needs, *(f'{name}?' for name in feature.takes)])} | {feature.type} "
        f"| {feature.unit} | {feature.meaning} | {feature.source} | {feature.missing} |"
        for feature in CATALOGUE.values()
    ]


def test_it_is_documented_feature_by_feature() -> None:
    listed = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    assert listed == rows()


def test_it_counts_nothing_as_zero_and_misses_everything_else_of_a_stranger() -> None:
    for feature in CATALOGUE.values():
        if feature.at_open:
            continue
        asked = {
            "category": SHOES if "category" in feature.needs else None,
            "of": "x" if "name" in feature.needs else None,
        }
        found = value(ProfileState(), feature.name, MORNING, **asked)  # type: ignore[arg-type]
        nothing = "prospect" if feature.name == "lifecycle.stage" else 0
        assert found == (nothing if feature.missing.startswith("never") else None), feature.name


def test_it_counts_days_by_the_calendar_and_hours_by_the_clock() -> None:
    late = MORNING.replace(hour=23, minute=59)
    state = fold_all(
        [order("o1", item("shoes"), at=late), event("Product Added", item("socks"), at=late + HOUR, id="a")]
    )
    assert value(state, "purchases.days_since", late, category=SHOES) == 0
    assert value(state, "purchases.days_since", late + 2 * HOUR, category=SHOES) == 1
    assert value(state, "cart.hours_since", late + 2.9 * HOUR) == 1
    assert value(state, "cart.contains", late, category=SOCKS) is True
    assert value(state, "cart.contains", late, category=SHOES) is False
    assert value(state, "purchases.days_since", late - 3 * DAY, category=SHOES) == 0


def test_it_knows_the_household_and_the_person_by_their_traits() -> None:
    state = fold_all([identify({"householdSize": 4, "household_kids": "2", "firstName": "Ann"})])
    assert value(state, "household.size", MORNING) == 4
    assert value(state, "household.kids", MORNING) == "2"
    assert value(state, "trait", MORNING, of="first_name") == "Ann"


@pytest.mark.parametrize(("ago", "expected"), [(0, True), (1, False), (-1, True)])
def test_it_tells_to_the_millisecond_what_was_bought_since(ago: int, expected: bool) -> None:
    state = fold_all([order("o1", item("shoes"), at=MORNING + timedelta(milliseconds=500))])
    assert bought_since(state, SHOES, unix_ms(MORNING) + 500 + ago) is expected
    assert bought_since(state, SOCKS, 0) is False


def test_it_tells_to_the_second_once_a_purchase_is_no_longer_recent() -> None:
    many = [item("socks", f"p{number}") for number in range(12)]
    state = fold_all([order("o1", item("shoes"), at=MORNING), order("o2", *many, at=MORNING + DAY)])
    assert bought_since(state, SHOES, unix_ms(MORNING))
    assert not bought_since(state, SHOES, unix_ms(MORNING) + 1000)
