"""Pictures from outside: what is kept is clean, what could hurt is refused with the reason."""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from base.errors import InvalidInput
from campaigns.cleaning import Clean, cleaned
from tests.misbehaving import HTML, SVG, bomb, photo, with_secrets


def opened(clean: Clean) -> Image.Image:
    """The kept picture."""
    image = Image.open(BytesIO(clean.body))
    assert image.size == (clean.width, clean.height)
    return image


def test_it_keeps_pixels_upright_and_nothing_else() -> None:
    image = opened(cleaned(with_secrets()))
    assert (image.format, image.size, image.mode) == ("JPEG", (600, 900), "RGB")
    assert not image.getexif()
    assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert b"taken at home" not in cleaned(with_secrets()).body


def test_it_scales_down_to_what_a_hero_needs() -> None:
    assert opened(cleaned(photo(4000, 1000))).size == (1600, 400)
    assert opened(cleaned(photo(300, 200))).size == (300, 200)


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "GIF", "WEBP"])
def test_it_takes_every_format_that_mails_know(fmt: str) -> None:
    assert cleaned(photo(fmt=fmt)).width == 900


def test_it_keeps_transparency_and_flat_art_without_loss() -> None:
    out = BytesIO()
    Image.new("RGBA", (40, 30), (255, 0, 0, 128)).save(out, "PNG")
    clear = opened(cleaned(out.getvalue()))
    assert (clear.format, clear.mode, clear.getpixel((0, 0))) == ("PNG", "RGBA", (255, 0, 0, 128))
    out = BytesIO()
    Image.new("RGB", (40, 30), "#123456").save(out, "PNG")
    assert opened(cleaned(out.getvalue())).getpixel((5, 5)) == (0x12, 0x34, 0x56)


def test_it_takes_only_the_first_frame() -> None:
    out = BytesIO()
    frames = [Image.new("P", (20, 20), colour) for colour in range(8)]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    assert getattr(opened(cleaned(out.getvalue())), "n_frames", 1) == 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16", "CMYK"])
def test_it_reads_every_way_of_writing_pixels(mode: str) -> None:
    fmt = "JPEG" if mode == "CMYK" else "PNG"
    out = BytesIO()
    Image.new(mode, (30, 20)).save(out, fmt)
    assert opened(cleaned(out.getvalue())).size == (30, 20)


def test_it_keeps_the_lightness_of_sixteen_bit_grey() -> None:
    out = BytesIO()
    Image.new("I;16", (30, 20), 0x8080).save(out, "PNG")
    assert opened(cleaned(out.getvalue())).convert("RGB").getpixel((1, 1)) == (128, 128, 128)


REFUSED = {
    "empty": (b"", "is empty"),
    "large": (b"\xff" * 10_000_001, "is larger than 10 MB"),
    "bomb": (bomb(30_000, 30_000), "has more than 20 million pixels"),
    "wide": (bomb(50_000, 40), "is 50,000 by 40 pixels; a side may have at most 12,000"),
    "svg": (SVG, "is not a picture"),
    "html": (HTML, "is not a picture"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a picture"),
    "truncated jpeg": (photo()[:4000], "is cut off or damaged"),
    "truncated png": (photo(fmt="PNG")[:2000], "is cut off or damaged"),
    "head only": (photo(fmt="PNG")[:20], "is"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_refuses_what_could_hurt_and_says_why(name: str) -> None:
    data, reason = REFUSED[name]
    with pytest.raises(InvalidInput) as refusal:
        cleaned(data, "file")
    assert refusal.value.field == "file"
    assert reason in refusal.value.message


def test_it_decodes_within_bounds_of_memory_and_without_our_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("campaigns.cleaning._COMMAND", (sys.executable, "-c", LOOKING))
    monkeypatch.setenv("LATEBIND_SUBJECT_KEY", "secret")
    assert cleaned(photo()).body == b"no secret, no files, no memory"


LOOKING = """
import json, os, sys
from campaigns.cleaner import limit
limit()
found = [] if "LATEBIND_SUBJECT_KEY" in os.environ else ["no secret"]
try:
    with open("latebind-cleaner-wrote", "w") as file:
        file.write("x")
except OSError:
    found.append("no files")
try:
    bytearray(1 << 30)
except MemoryError:
    found.append("no memory")
sys.stdout.write(json.dumps({"width": 1, "height": 1}) + "\\n" + ", ".join(found))
"""


def test_it_refuses_what_crashes_or_hangs_its_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    for program, reason in (
        ("import os; os.abort()", "cannot be decoded within the bounds"),
        ("while True: pass", "takes too long"),
    ):
        monkeypatch.setattr("campaigns.cleaning.SECONDS", 1.0)
        monkeypatch.setattr("campaigns.cleaning._COMMAND", (sys.executable, "-c", program))
        with pytest.raises(InvalidInput, match=reason):
            cleaned(photo())
