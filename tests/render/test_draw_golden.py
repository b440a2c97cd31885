"""The starting creatives look as they were approved: to the pixel on the pinned stack, closely on any other."""

import base64
import json
from typing import Any

import pytest

from render.creative import Creative
from tests.render.drawing import GOLDEN, cases, pixels, sample, stack_versions, thumbnail

STORED: dict[str, Any] = json.loads(GOLDEN.read_text())


@pytest.mark.parametrize(("name", "creative", "dark"), cases(), ids=[name for name, _, _ in cases()])
def test_it_draws_a_starting_creative_as_approved(name: str, creative: Creative, dark: bool) -> None:
    image = sample(creative, dark)
    stored = STORED["pictures"][name]
    differences = [abs(a - b) for a, b in zip(thumbnail(image), base64.b64decode(stored["thumbnail"]), strict=True)]
    assert max(differences) <= 16
    assert sum(differences) / len(differences) <= 1.5
    if STORED["versions"] == stack_versions():
        assert pixels(image) == stored["pixels"]


def test_it_holds_no_picture_that_is_not_drawn_any_more() -> None:
    assert list(STORED["pictures"]) == [name for name, _, _ in cases()]
