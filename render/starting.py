"""The creatives a new installation starts with, in light and dark, drawn well without a single photograph.

Each reads only the fields named in docs/creatives.md and looks finished when most of them are missing.
"""

from typing import Final

from render.creative import Creative
from render.heroes import HEROES
from render.pieces import HERO, TILE
from render.tiles import TILES

__all__ = ["BY_NAME", "HERO", "STARTING", "TILE"]

STARTING: Final[tuple[Creative, ...]] = tuple(sorted(HEROES + TILES, key=lambda creative: creative.id))

BY_NAME: Final[dict[str, Creative]] = {creative.name: creative for creative in STARTING}
