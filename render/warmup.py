"""Do once, before the first request, what the first pictures would otherwise pay for."""

from functools import cache

from render.binding import resolve
from render.draw import NEUTRAL_SIZE, compose, static_picture
from render.fonts import Fonts
from render.samples import SAMPLE_AT_MS, SAMPLES
from render.script import load_segmenters
from render.starting import STARTING


@cache
def warm_fonts() -> Fonts:
    """The fonts of this process, loaded and warmed when they are first asked for. All apps in it draw with the same."""
    fonts = Fonts.load()
    warm_up(fonts)
    return fonts


def warm_up(fonts: Fonts) -> None:
    """Open the usual fonts and sizes, make the usual shapes and the neutral pictures: about half a second of work.

    A process that has not been warmed draws its first hero in some 45 ms instead of 5.
    """
    load_segmenters()
    for creative in STARTING:
        resolved = resolve(creative, SAMPLES[creative.id], at_ms=SAMPLE_AT_MS)
        compose(resolved, {}, (creative.width, creative.height), False, fonts)
    for size in {NEUTRAL_SIZE, *((creative.width, creative.height) for creative in STARTING)}:
        static_picture(*size, "jpg")
