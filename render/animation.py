"""A countdown as an animated GIF: one whole frame, then for every second only the digits that change.

The first frame carries the whole message, since some clients show no other. The animation plays once and stands still:
played again it would count the same minute twice. Where the time runs out within it, the last frame is the picture for
afterwards, whole and with colours of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Final

from PIL import GifImagePlugin, Image

from render.clockface import ClockFace, Rect
from render.creative import COUNTED_SECONDS
from render.encode import softened

SECOND_MS: Final = 1000
_KEEP: Final = 1
"""GIF's disposal method that leaves a frame where it is."""
_RAMP: Final = 12
"""Colours kept for the edges of the digits, between their own and their ground's."""
_TRIES: Final = ((256, 60), (128, 60), (64, 60), (64, 20), (32, 10), (16, 4))
"""Colours and frames, the best first."""


def animated(first: Image.Image, clock: ClockFace, over: Image.Image | None, max_bytes: int) -> bytes:
    """Return the GIF that counts down from `first`, the best there is within `max_bytes`.

    `over` is what is shown when the time has run out, if that is within COUNTED_SECONDS; the picture of a ceiling that
    nothing can meet is the smallest there is.
    """
    smallest = b""
    for colours, frames, image, end in _tries(first, over):
        data = _gif(image, clock, end, colours, frames)
        if len(data) <= max_bytes:
            return data
        smallest = data if not smallest or len(data) < len(smallest) else smallest
    return smallest


def _tries(first: Image.Image, over: Image.Image | None) -> Iterator[tuple[int, int, Image.Image, Image.Image | None]]:
    for colours, frames in _TRIES:
        yield colours, frames, first, over
    colours, frames = _TRIES[-1]
    ends = softened(over) if over is not None else iter(())
    for soft in softened(first):
        yield colours, frames, soft, next(ends, None)


def _gif(first: Image.Image, clock: ClockFace, over: Image.Image | None, colours: int, frames: int) -> bytes:
    palette = _palette(first, clock, colours)
    whole = first.quantize(palette=palette, dither=Image.Dither.NONE)
    out = BytesIO()
    header, _ = GifImagePlugin.getheader(whole.copy(), info={"optimize": False, "duration": SECOND_MS})
    for part in (*header, *_frame(whole, (0, 0))):
        out.write(part)
    sheet = first.copy()
    drawn: dict[tuple[Rect, bytes], list[bytes]] = {}
    seconds = min(frames, COUNTED_SECONDS, clock.left)
    for passed in range(1, seconds + 1):
        left = clock.left - passed
        if not left and over is not None:
            end = over.quantize(colours, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
            for part in _frame(end, (0, 0), include_color_table=True):
                out.write(part)
            break
        changed = clock.show(sheet, clock.at(left), clock.at(left + 1))
        if changed is None:
            continue
        digits = sheet.crop(changed)
        key = changed, digits.tobytes()
        if key not in drawn:
            drawn[key] = _frame(digits.quantize(palette=palette, dither=Image.Dither.NONE), changed[:2])
        for part in drawn[key]:
            out.write(part)
    out.write(b";")
    return out.getvalue()


def _palette(first: Image.Image, clock: ClockFace, colours: int) -> Image.Image:
    """Return one palette for all frames: the picture's own colours, and those of the digits' edges."""
    found = first.quantize(max(2, colours - _RAMP), method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    entries = list(found.getpalette() or ())[: 3 * (256 - _RAMP)]
    for step in range(_RAMP):
        pairs = zip(clock.look.fill, clock.look.colour, strict=True)
        entries += [round(a + (b - a) * step / (_RAMP - 1)) for a, b in pairs]
    palette = Image.new("P", (1, 1))
    palette.putpalette(entries)
    return palette


def _frame(image: Image.Image, at: tuple[int, int], **options: bool) -> list[bytes]:
    return list(GifImagePlugin.getdata(image, at, duration=SECOND_MS, disposal=_KEEP, **options))
