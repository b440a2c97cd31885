"""Pictures: size, format, bytes, determinism, missing parts, and what the cache may take for equal."""

import hashlib
import io
import random
from functools import cache
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from PIL import Image, ImageChops, ImageFilter, ImageStat

from render.art import draw_art
from render.binding import resolve
from render.colour import contrast, scheme
from render.creative import Background, Badge, Box, Column, Creative, Panel, Picture, Price, Text, asset_hashes
from render.draw import NEUTRAL_SIZE, badge_parts, compose, content_key, draw, gradient, static_picture
from render.encode import CONTENT_TYPES, FORMATS, MAX_BYTES, encode
from render.fonts import Fonts
from render.samples import SAMPLES
from render.starting import BY_NAME, HERO, STARTING, TILE
from tests.render.drawing import fonts, pixels, sample

HASH = "ab" * 32
"""A blob that nobody has; blobs that are there go by their own SHA-256, as in the store."""
RESTOCK = BY_NAME["Restock discount"]
PIL_NAMES = {"jpg": "JPEG", "png": "PNG", "gif": "GIF", "webp": "WEBP"}


def decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@cache
def photograph(width: int, height: int) -> bytes:
    """A picture as hard to compress as any photograph: noise with a grain of three pixels."""
    grain = width // 3, height // 3
    noise = Image.frombytes("RGB", grain, random.Random(7).randbytes(grain[0] * grain[1] * 3))
    out = io.BytesIO()
    noise.resize((width, height), Image.Resampling.BICUBIC).save(out, "JPEG")
    return out.getvalue()


def blob(data: bytes) -> tuple[bytes, str]:
    return data, hashlib.sha256(data).hexdigest()


@pytest.mark.feature("EC-18")
@pytest.mark.parametrize("creative", STARTING, ids=lambda creative: creative.name)
def test_it_draws_twice_the_declared_size_within_the_ceiling(creative: Creative) -> None:
    photo, name = blob(photograph(900, 900))
    resolved = resolve(creative, {**SAMPLES[creative.id], "product.picture": name})
    assets = {name: photo}
    for fmt, dark in product(("jpg", "png", "gif"), (False, True)):
        for size in {HERO, TILE, (creative.width, creative.height)}:
            data = draw(resolved, assets, size, fmt, dark, fonts())
            image = decoded(data)
            assert image.size == (2 * size[0], 2 * size[1])
            assert image.format == PIL_NAMES[fmt]
            assert len(data) <= MAX_BYTES


@pytest.mark.parametrize("max_bytes", [60_000, 25_000])
def test_it_lowers_the_quality_until_a_photograph_fits(max_bytes: int) -> None:
    noisy = Creative(1, "noise", *HERO, (Background(picture="{{ product.picture }}"),))
    photo, name = blob(photograph(1200, 600))
    data = draw(resolve(noisy, {"product.picture": name}), {name: photo}, HERO, "jpg", False, fonts(), max_bytes)
    assert len(data) <= max_bytes
    assert decoded(data).size == (1200, 600)


@pytest.mark.parametrize("fmt", FORMATS)
def test_it_writes_no_metadata_and_nothing_transparent(fmt: str) -> None:
    image = decoded(draw(resolve(RESTOCK, SAMPLES[1]), {}, HERO, fmt, False, fonts()))
    assert not set(image.info) & {"exif", "icc_profile", "comment", "xmp", "transparency"}
    assert image.mode in ("RGB", "P")
    assert CONTENT_TYPES[fmt].startswith("image/")


def test_it_drops_the_metadata_of_a_product_picture() -> None:
    tagged = Image.frombytes("RGB", (64, 64), random.Random(1).randbytes(64 * 64 * 3))
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    out = io.BytesIO()
    tagged.save(out, "JPEG", exif=exif)
    photo, name = blob(out.getvalue())
    data = draw(resolve(RESTOCK, {"product.picture": name}), {name: photo}, HERO, "jpg", False, fonts())
    assert b"taken at home" not in data


def test_it_gives_the_same_bytes_for_the_same_design() -> None:
    for creative in STARTING:
        resolved = resolve(creative, SAMPLES[creative.id])
        size = (creative.width, creative.height)
        assert draw(resolved, {}, size, "jpg", False, fonts()) == draw(resolved, {}, size, "jpg", False, Fonts.load())


def test_it_says_nothing_of_its_own_above_the_headline_of_a_discount() -> None:
    fields = {name: text for name, text in SAMPLES[1].items() if name != "offer.eyebrow"}
    without, empty, said = (
        compose(resolve(RESTOCK, one), {}, HERO, False, fonts())
        for one in (fields, fields | {"offer.eyebrow": ""}, SAMPLES[1])
    )
    assert without.tobytes() == empty.tobytes() != said.tobytes()


@pytest.mark.parametrize("broken", [b"", b"not a picture", photograph(90, 90)[:200]], ids=["empty", "text", "cut"])
def test_it_draws_art_where_a_product_picture_is_missing_or_broken(broken: bytes) -> None:
    photo, name = blob(broken)
    resolved = resolve(RESTOCK, {**SAMPLES[1], "product.picture": name})
    without = compose(resolve(RESTOCK, SAMPLES[1]), {}, HERO, False, fonts())
    for assets in ({}, {name: photo}):
        assert pixels(compose(resolved, assets, HERO, False, fonts())) == pixels(without)


def test_it_takes_a_picture_that_could_not_be_decoded_once_it_can() -> None:
    whole, name = blob(photograph(120, 90))
    resolved = resolve(RESTOCK, {**SAMPLES[1], "product.picture": name})
    torn = compose(resolved, {name: whole[:300]}, HERO, False, fonts())
    assert pixels(compose(resolved, {name: whole}, HERO, False, fonts())) != pixels(torn)


def test_it_refuses_to_decode_a_picture_of_too_many_pixels() -> None:
    bomb = io.BytesIO()
    Image.new("1", (5_000, 4_001)).save(bomb, "PNG")
    photo, name = blob(bomb.getvalue())
    drawn = compose(resolve(RESTOCK, {**SAMPLES[1], "product.picture": name}), {name: photo}, HERO, False, fonts())
    assert pixels(drawn) == pixels(compose(resolve(RESTOCK, SAMPLES[1]), {}, HERO, False, fonts()))


def test_it_lays_transparent_pictures_on_the_surface_so_that_nothing_shines_through() -> None:
    clear = Image.new("RGBA", (40, 40), (255, 0, 0, 0))
    only = Creative(1, "one", 40, 40, (Background("#00ff00"), Picture(Box(0, 0, 40, 40), fit="cover")))
    for dark in (False, True):
        name = hashlib.sha256(clear.tobytes()).hexdigest()
        image = compose(resolve(only, {"product.picture": name}), {name: clear}, (40, 40), dark, fonts())
        assert image.getpixel((40, 40)) == ((23, 24, 28) if dark else (255, 255, 255))


def test_it_keeps_the_focus_of_a_cropped_picture() -> None:
    halves = Image.new("RGB", (200, 100), (255, 0, 0))
    halves.paste((0, 0, 255), (100, 0, 200, 100))
    name = hashlib.sha256(halves.tobytes()).hexdigest()
    for focus, colour in ((0.0, (255, 0, 0)), (1.0, (0, 0, 255))):
        design = Creative(1, "focus", 40, 40, (Background(picture="{{ product.picture }}", focus_x=focus),))
        image = compose(resolve(design, {"product.picture": name}), {name: halves}, (40, 40), False, fonts())
        assert image.getpixel((40, 40)) == colour


@pytest.mark.feature("EC-18")
def test_it_fills_the_background_around_the_focus_of_a_photograph() -> None:
    whole = Image.new("RGB", (300, 900), (250, 0, 0))
    whole.paste((0, 0, 250), (0, 600, 300, 900))
    name = hashlib.sha256(whole.tobytes()).hexdigest()
    for focus, colour in ((0.0, (250, 0, 0)), (1.0, (0, 0, 250))):
        design = Creative(1, "focus", *HERO, (Background(picture="{{ offer.picture }}", focus_y=focus),))
        data = draw(resolve(design, {"offer.picture": name}), {name: whole}, HERO, "jpg", False, fonts())
        corner = decoded(data).getpixel((600, 300))
        assert isinstance(corner, tuple)
        assert all(abs(one - other) < 8 for one, other in zip(corner, colour, strict=True))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_keeps_white_text_readable_on_the_brightest_photograph(dark: bool) -> None:
    white = Image.new("RGB", (600, 300), (255, 255, 255))
    name = hashlib.sha256(white.tobytes()).hexdigest()
    design = BY_NAME["Photograph"]
    layout = next(layer.box for layer in design.layers if isinstance(layer, Column))
    for locale in ("en", "ar"):
        image = compose(resolve(design, {"offer.picture": name}, locale), {name: white}, HERO, dark, fonts())
        row = [
            (pixel[0], pixel[1], pixel[2]) for x in range(1200) if isinstance(pixel := image.getpixel((x, 590)), tuple)
        ]
        grounds = [contrast((255, 255, 255), pixel) for pixel in (row[::-1] if locale == "ar" else row)]
        assert min(grounds[: 2 * (layout.x + layout.w)]) >= 4.5, "under the text"
        assert grounds[-1] < 1.5, "beside it, the photograph is seen"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("20% off", ["20%", "off"]),
        ("20\u00a0% Rabatt", ["20\u00a0%", "Rabatt"]),
        ("20%オフ", ["20%", "オフ"]),
        ("减20%", ["减", "20%"]),
        ("New", ["New"]),
        ("›", ["›"]),
    ],
)
def test_it_sets_the_number_of_a_badge_apart_in_every_script(text: str, lines: list[str]) -> None:
    assert [line for line, _ in badge_parts(text)] == lines


def test_it_cuts_a_badge_out_from_art_in_its_own_colour() -> None:
    badge = Badge(Box(100, 50, 100, 100), "9", "disc", fill="#f7cd61")
    design = Creative(1, "badge", 300, 200, (Background("#ffffff"), Panel(Box(0, 0, 300, 200), "#f7cd61"), badge))
    image = compose(resolve(design, {}), {}, (300, 200), False, fonts())
    assert (image.getpixel((300, 97)), image.getpixel((300, 90))) == ((255, 255, 255), (247, 205, 97))


@pytest.mark.parametrize(("locale", "currency"), [("en", "USD"), ("ar", "SAR")])
def test_it_makes_a_price_smaller_before_it_leaves_out_the_former_one(locale: str, currency: str) -> None:
    prices = Price("{{ offer.price_cents }}", "{{ product.price_cents }}", 44)
    design = Creative(1, "price", 276, 60, (Background("#ffffff"), Column(Box(0, 0, 276, 60), (prices,))))
    fields = {"offer.price_cents": 8999, "product.price_cents": 11999}
    inks = []
    for known in (fields, {"offer.price_cents": 8999}):
        image = compose(resolve(design, known, locale, currency), {}, (276, 60), False, fonts())
        inks.append(ImageChops.difference(image, Image.new("RGB", image.size, "white")).getbbox())
    both, alone = (ink for ink in inks if ink is not None)
    assert both[2] - both[0] > alone[2] - alone[0] + 50


def test_it_breaks_no_sky_into_bands_where_colours_are_few() -> None:
    sky = gradient((30, 60, 120), (200, 220, 250), (600, 300), vertical=False)
    sky = Image.blend(sky, gradient((10, 20, 30), (90, 60, 40), (600, 300), vertical=True), 0.5)
    blurred = ImageFilter.BoxBlur(6)
    errors = []
    for ceiling in (MAX_BYTES, 30_000):
        shown = decoded(encode(sky, "gif", ceiling)).convert("RGB")
        apart = ImageChops.difference(shown.filter(blurred), sky.filter(blurred))
        errors.append(max(ImageStat.Stat(apart).mean))
    assert errors[0] < 0.7
    assert errors[1] > 2 * errors[0], "a low ceiling is met first of all"


@pytest.mark.parametrize("size", [(560, 168), (560, 178), (178, 560), (480, 504)])
def test_it_leaves_no_sliver_of_a_tile(size: tuple[int, int]) -> None:
    """The last rows show what those before them show: an edge of a tile right before the end would be a sliver."""
    art = draw_art(fonts(), size, "Coffee", "tiles", "", scheme("Coffee", False), (255, 255, 255))
    flat = art if size[0] >= size[1] else art.transpose(Image.Transpose.ROTATE_90)
    changes = [
        ImageChops.difference(flat.crop((0, y, flat.width, y + 1)), flat.crop((0, y + 1, flat.width, y + 2)))
        for y in range(flat.height - 14, flat.height - 1)
    ]
    assert all(sum(ImageStat.Stat(change).mean) < 40 for change in changes)


def test_it_draws_without_any_font_file() -> None:
    bare = Fonts(())
    for creative in STARTING:
        image = compose(resolve(creative, SAMPLES[creative.id]), {}, HERO, False, bare)
        assert image.size == (1200, 600)
    written = compose(resolve(RESTOCK, SAMPLES[1]), {}, HERO, False, bare)
    assert pixels(written) != pixels(
        compose(replace(resolve(RESTOCK, {}), layers=RESTOCK.layers[:1]), {}, HERO, False, bare)
    )


@settings(max_examples=50)
@given(
    st.sampled_from(STARTING),
    st.dictionaries(
        st.sampled_from([
            "offer.headline", "offer.body", "offer.badge", "offer.button", "offer.eyebrow", "offer.price_cents",
            "product.name", "product.category", "product.price_cents", "product.picture", "product.rating",
            "product.rating_count", "profile.first_name", "brand.name",
        ]),
        st.one_of(st.text(max_size=80), st.integers(-10**12, 10**12), st.floats(), st.none()),
    ),
    st.sampled_from([HERO, TILE, (20, 10), (600, 40), (60, 600)]),
    st.sampled_from(["en", "ar", "he-IL", "ja", "zh-Hant", "hi-IN", "th", "xx", ""]),
)  # fmt: skip
def test_it_never_fails_for_what_the_fields_say(
    creative: Creative, fields: dict[str, object], size: tuple[int, int], locale: str
) -> None:
    image = compose(resolve(creative, fields, locale), {}, size, False, fonts())
    assert image.size == (2 * size[0], 2 * size[1])
    assert image.mode == "RGB"


def test_it_keys_pictures_by_everything_that_changes_their_bytes() -> None:
    resolved = resolve(RESTOCK, {**SAMPLES[1], "product.picture": HASH})
    assert asset_hashes(resolved) == (HASH,)
    variants = [
        content_key(resolved, HERO, "jpg", False),
        content_key(resolved, TILE, "jpg", False),
        content_key(resolved, HERO, "png", False),
        content_key(resolved, HERO, "jpg", True),
        content_key(resolved, HERO, "jpg", False, 50_000),
        content_key(resolved, HERO, "jpg", False, assets=()),
        content_key(resolve(RESTOCK, {**SAMPLES[1], "offer.badge": "21% off"}), HERO, "jpg", False),
    ]
    assert len(set(variants)) == len(variants)
    assert content_key(resolved, HERO, "jpg", False, assets={HASH: b""}) == variants[0]
    assert content_key(replace(resolved, personal=True), HERO, "jpg", False) == variants[0]


@pytest.mark.parametrize("fmt", FORMATS)
def test_it_has_a_neutral_picture_of_every_size_a_token_can_promise(fmt: str) -> None:
    for width, height in (NEUTRAL_SIZE, HERO, TILE, (20, 10), (1260, 10), (20, 2550)):
        data = static_picture(width, height, fmt)
        assert decoded(data).size == (2 * width, 2 * height)
        assert len(data) <= MAX_BYTES
    assert static_picture(1260, 2550, "jpg") is static_picture(1260, 2550, "jpg")


def test_it_encodes_flat_art_within_the_ceiling_even_as_png() -> None:
    image = sample(RESTOCK, dark=False)
    assert len(encode(image, "png", 20_000)) <= 20_000


def test_it_mirrors_a_design_for_right_to_left_text() -> None:
    design = Creative(
        1, "mirror", *HERO, (Background(), Column(Box(20, 20, 200, 100), (Text("{{ offer.headline }}"),)))
    )
    blank = compose(resolve(design, {}), {}, HERO, False, fonts())
    for locale, headline, left in (("en", "Hello", True), ("he", "שלום", False), ("en", "שלום לכולם", False)):
        image = compose(resolve(design, {"offer.headline": headline}, locale), {}, HERO, False, fonts())
        box = ImageChops.difference(image, blank).getbbox()
        assert box is not None
        assert (box[2] < 600) if left else (box[0] > 600)
