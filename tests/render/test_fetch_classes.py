"""The labelled corpus of fetches: the published figures are the computed ones, and good enough to count by."""

from __future__ import annotations

import pytest

from tests.fetch_classes import PAGE, SIDES, TRUTHS, cases, page


@pytest.mark.feature("EC-15")
def test_it_publishes_the_precision_and_recall_of_each_class() -> None:
    found = list(cases())
    assert len(found) > 300
    assert {case.truth for case in found} == set(TRUTHS)
    assert PAGE.read_text(encoding="utf-8") == page()
    for members in SIDES.values():
        told = [case for case in found if case.told in members]
        assert sum(case.truth in members for case in told) / len(told) > 0.9


@pytest.mark.feature("EC-15")
def test_it_tells_a_display_proxy_from_a_prefetch_wherever_anything_tells_them_apart() -> None:
    found = [case for case in cases() if case.truth in ("proxy", "prefetch")]
    swapped = {(case.client, case.note) for case in found if {case.truth, case.told} == {"proxy", "prefetch"}}
    # Under the display proxy's own name and past the first seconds, nothing does.
    assert swapped == {("A mail provider at delivery", "eight seconds after, under the display proxy's name")}
    assert sum(case.truth == case.told for case in found if case.truth == "proxy") == sum(
        case.truth == "proxy" for case in found
    )
