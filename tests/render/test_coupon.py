"""Coupons: a scanner reads them from every format and ground, and what it could not read is shown as text."""

from __future__ import annotations

import io

import pytest
import zxingcpp
from PIL import Image, ImageChops

from render.binding import resolve
from render.coupon import bars, qr
from render.creative import Background, Box, Column, Coupon, Creative, Resolved
from render.draw import compose, draw
from render.samples import SAMPLES
from render.starting import BY_NAME, HERO
from tests.render.drawing import fonts

DESIGNS = [(BY_NAME["Coupon"], "Code 128"), (BY_NAME["Coupon tile"], "QR Code")]


def design(coupon: Coupon, width: int = 600) -> Creative:
    return Creative(1, "coupon", 600, 300, (Background("ink"), Column(Box(0, 0, width, 300), (coupon,))))


def scanned(image: Image.Image) -> list[tuple[str, str]]:
    """What a scanner reads: format and text."""
    return [(str(found.format), found.text) for found in zxingcpp.read_barcodes(image)]


@pytest.mark.parametrize(("creative", "kind"), DESIGNS, ids=[kind for _, kind in DESIGNS])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("fmt", ["jpg", "png", "gif"])
def test_it_is_read_by_a_scanner_from_every_format(creative: Creative, kind: str, dark: bool, fmt: str) -> None:
    for code in (SAMPLES[creative.id]["offer.coupon"], "A", "1234567890", "Save-20% now!"):
        resolved = resolve(creative, {**SAMPLES[creative.id], "offer.coupon": code})
        data = draw(resolved, {}, (creative.width, creative.height), fmt, dark, fonts())
        assert scanned(Image.open(io.BytesIO(data))) == [(kind, code)]


@pytest.mark.parametrize(("creative", "kind"), DESIGNS, ids=[kind for _, kind in DESIGNS])
def test_it_is_read_at_the_size_of_a_plain_screen(creative: Creative, kind: str) -> None:
    resolved = resolve(creative, SAMPLES[creative.id])
    image = compose(resolved, {}, (creative.width, creative.height), False, fonts()).reduce(2)
    assert scanned(image) == [(kind, SAMPLES[creative.id]["offer.coupon"])]


@pytest.mark.parametrize(
    ("form", "code"), [("qr", "https://shop.example.com/c/" + "a" * 173), ("qr", "Grüße 20 %"), ("bars", "X" * 22)]
)
def test_it_is_read_at_the_bounds_of_what_it_holds(form: str, code: str) -> None:
    coupon = Coupon(code, form="qr" if form == "qr" else "bars", size=290 if form == "qr" else 60, label=8)
    image = compose(resolve(design(coupon), {}), {}, HERO, False, fonts())
    assert [text for _, text in scanned(image)] == [code]


def test_it_stands_on_whole_pixels_in_black_and_white_with_its_quiet_zone() -> None:
    resolved = resolve(design(Coupon("SAVE-20", form="qr", size=120)), {})
    for dark in (False, True):
        image = compose(resolved, {}, HERO, dark, fonts())
        (found,) = zxingcpp.read_barcodes(image)
        corners = found.position
        box = corners.top_left.x, corners.top_left.y, corners.bottom_right.x, corners.bottom_right.y
        small = qr("SAVE-20")
        assert small is not None
        module = round((box[2] - box[0]) / small.width)
        left, top = box[0], box[1]
        whole = image.crop((left, top, left + module * small.width, top + module * small.height)).convert("L")
        wanted = ImageChops.invert(small).resize(whole.size, Image.Resampling.NEAREST)
        assert ImageChops.difference(whole, wanted).getbbox() is None
        room, right, low = 4 * module, left + whole.width, top + whole.height
        for around in (
            (left - room, top - room, right + room, top),
            (left - room, low, right + room, low + room),
            (left - room, top, left, low),
            (right, top, right + room, low),
        ):
            assert image.crop(around).convert("L").getextrema() == (255, 255)


@pytest.mark.parametrize(
    ("coupon", "why"),
    [
        (Coupon("Grüße"), "no such bars"),
        (Coupon("X" * 41), "too long for bars"),
        (Coupon("x" * 201, form="qr"), "too long for a QR code"),
        (Coupon("SHOES20-7K4M", form="qr", size=20), "too fine"),
        (Coupon("SAVE-" + "7" * 30 + "x"), "too fine"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_it_writes_the_code_where_no_scanner_could_read_it(coupon: Coupon, why: str) -> None:
    resolved = resolve(design(coupon, width=200), {})
    image = compose(resolved, {}, HERO, False, fonts())
    assert scanned(image) == []
    blank = compose(_bare(resolved), {}, HERO, False, fonts())
    changed = ImageChops.difference(image, blank).getbbox()
    assert changed is not None
    assert changed[2] <= 400


def _bare(resolved: Resolved) -> Resolved:
    return resolve(Creative(1, "bare", 600, 300, (Background("ink"),)), {})


def test_it_makes_no_code_of_nothing() -> None:
    assert qr("") is None
    assert bars("") is None
    assert bars("tab\there") is None
    assert len(resolve(design(Coupon()), {}).layers) == 1
