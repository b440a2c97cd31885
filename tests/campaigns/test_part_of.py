"""How a part of all is said as a percentage."""

from __future__ import annotations

import pytest

from campaigns.presenting import part_of


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [
        (0, 2477, "0.0 %"), (1, 2477, "under 0.1 %"), (2, 2477, "0.1 %"), (1238, 2477, "50.0 %"),
        (2476, 2477, "over 99.9 %"), (2477, 2477, "100.0 %"), (0, 0, "–"),
    ],
)  # fmt: skip
def test_it_rounds_neither_somebody_to_nobody_nor_most_to_everybody(part: int, whole: int, said: str) -> None:
    assert part_of(part, whole) == said
