"""The starting creatives: publishable, readable in every colour, honest where they must be, and nothing overlaps."""

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from PIL import ImageChops

from render.binding import resolve
from render.colour import _HUES, Paint, contrast, scheme
from render.creative import Badge, Box, Column, Creative, Item, Layer, Text
from render.draw import compose
from render.samples import SAMPLES
from render.stack import Sheet, fit
from render.starting import BY_NAME, STARTING
from render.template import FILTERS
from render.validity import check
from tests.render.drawing import DOCS, fonts

NEUTRAL = [creative for creative in STARTING if creative.family == "neutral"]
LONGEST = (
    "Extraordinarily Long-Lasting Ultra-Comfortable Waterproof Trail-Running Shoes for Wide Feet, Women's Size 7.5 "
    "(Midnight Blue / Coral, 2 Pairs)"
)
SEEDS = [
    next(word for word in map(str, range(1000)) if scheme(word, False) == scheme_)
    for scheme_ in sorted({scheme(str(n), False) for n in range(1000)})
]
FULL = {
    "offer.headline": LONGEST,
    "offer.body": LONGEST,
    "offer.badge": "Save $1,250.50 today",
    "offer.button": LONGEST,
    "offer.eyebrow": LONGEST,
    "offer.price_cents": 99_999_999_999,
    "product.price_cents": 999_999_999_999,
    "product.name": LONGEST,
    "product.brand": LONGEST,
    "product.rating": 4.5,
    "product.rating_count": 1_234_567,
    "brand.name": LONGEST,
    "profile.first_name": LONGEST,
}


@pytest.mark.parametrize("creative", STARTING, ids=lambda creative: creative.name)
def test_it_passes_the_check_of_publishing(creative: Creative) -> None:
    assert {field.split(".")[0] for field in check(creative)} <= {"offer", "product", "products", "profile", "brand"}


def test_it_offers_every_kind_a_campaign_needs() -> None:
    assert {creative.family for creative in STARTING} == {
        "discount", "thank-you", "cross-sell", "upgrade", "price", "neutral", "service",
    }  # fmt: skip
    assert len(BY_NAME) == len(STARTING) == len({creative.id for creative in STARTING})


@pytest.mark.parametrize("creative", NEUTRAL, ids=lambda creative: creative.name)
def test_it_claims_nothing_in_a_neutral_design(creative: Creative) -> None:
    assert not any(field.startswith(("product.", "profile.")) for field in check(creative))
    assert not any("price" in field or "stock" in field for field in check(creative))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_stays_readable_in_the_colours_of_every_seed(dark: bool) -> None:
    assert len(SEEDS) == len(_HUES)
    for creative in STARTING:
        for seed in SEEDS:
            paint = Paint(creative.palette_dark if dark else creative.palette_light, seed, dark)
            pairs = [(text, ground) for text in ("ink", "muted", "@deep") for ground in ("surface", "@tint", "plate")]
            pairs += [("on_accent", "accent"), ("on_badge", "badge")]
            too_faint = [pair for pair in pairs if contrast(paint(pair[0]), paint(pair[1])) < 4.5]
            assert too_faint == []


@pytest.mark.parametrize("creative", STARTING, ids=lambda creative: creative.name)
def test_it_keeps_the_longest_texts_inside_their_column(creative: Creative) -> None:
    resolved = resolve(creative, FULL)
    size = (creative.width, creative.height)
    bare = replace(resolved, layers=tuple(layer for layer in resolved.layers if not isinstance(layer, Column)))
    for layer in resolved.layers:
        if isinstance(layer, Column):
            only = replace(bare, layers=(*bare.layers, layer))
            change = ImageChops.difference(
                compose(only, {}, size, False, fonts()), compose(bare, {}, size, False, fonts())
            ).getbbox()
            assert change is not None
            left, top, right, bottom = (
                2 * side for side in (layer.box.x, layer.box.y, layer.box.x + layer.box.w, layer.box.y + layer.box.h)
            )
            # A letter may lean out of its advance by a hair (the bow of a j, the foot of an italic), never to an edge.
            assert change[0] >= left - 4
            assert change[1] >= top - 4
            assert change[2] <= right + 4
            assert change[3] <= bottom + 4


@pytest.mark.parametrize(
    ("headline", "said"),
    [
        ("", "Thank you, Ann"),
        ("Enjoy your shoes", "Enjoy your shoes, Ann"),
        ("Thank you, Ann", "Thank you, Ann"),
        ("Thank you!", "Thank you!"),
        ("Thank you for buying.", "Thank you for buying."),
    ],
)
def test_it_thanks_by_name_unless_the_headline_is_a_whole_sentence(headline: str, said: str) -> None:
    resolved = resolve(BY_NAME["Thank you"], {"offer.headline": headline, "profile.first_name": "Ann"})
    (column,) = (layer for layer in resolved.layers if isinstance(layer, Column))
    assert next(item.text for item in column.items if isinstance(item, Text)) == said


def test_it_keeps_badges_clear_of_the_text() -> None:
    for creative in STARTING:
        columns = [layer.box for layer in creative.layers if isinstance(layer, Column)]
        badges = [layer.box for layer in creative.layers if isinstance(layer, Badge)]
        assert not [(creative.name, badge) for badge in badges for column in columns if _overlap(badge, column)]


def _overlap(one: Box, other: Box) -> bool:
    return (
        one.x < other.x + other.w and other.x < one.x + one.w and one.y < other.y + other.h and other.y < one.y + one.h
    )


@settings(max_examples=40)
@given(
    st.sampled_from(STARTING),
    st.dictionaries(st.sampled_from(sorted(FULL)), st.text(max_size=120)),
    st.sampled_from([1.0, 2.0, 0.7]),
)
def test_it_never_stacks_more_than_the_box_is_high(creative: Creative, fields: dict[str, str], scale: float) -> None:
    resolved = resolve(creative, {**FULL, **fields})
    blank = compose(replace(resolved, layers=()), {}, (20, 10), False, fonts())
    sheet = Sheet(blank, fonts(), Paint(resolved.palette_light, "", False), scale, resolved.rtl, "en")
    for layer in resolved.layers:
        if isinstance(layer, Column):
            w, h = round(layer.box.w * scale), round(layer.box.h * scale)
            parts = fit(sheet, layer, w, h)
            assert parts
            assert sum(part.height for part in parts) + sum(part.gap for part in parts[1:]) <= h or len(parts) == 1
            assert all(part.width <= w for part in parts)


def test_it_shows_no_sign_for_what_must_not_be_told() -> None:
    design = BY_NAME["Thank-you tile"]
    assert "pictogram" not in str(check(design))
    hero = BY_NAME["Restock discount"]
    plain = compose(resolve(hero, {"product.category": "Feminine hygiene"}), {}, (600, 300), False, fonts())
    layers = tuple(
        replace(layer, pictogram="") if hasattr(layer, "pictogram") else layer
        for layer in resolve(hero, {"product.category": "Feminine hygiene"}).layers
    )
    unsigned = replace(resolve(hero, {"product.category": "Feminine hygiene"}), layers=layers)
    assert plain.tobytes() == compose(unsigned, {}, (600, 300), False, fonts()).tobytes()


def test_it_documents_every_field_layer_item_and_filter() -> None:
    page = (DOCS / "creatives.md").read_text()
    fields = {field for creative in STARTING for field in check(creative)}
    kinds = {part.__struct_config__.tag for part in (*get_args(Layer), *get_args(Item))}
    assert [word for word in sorted(fields | kinds | set(FILTERS)) if f"`{word}`" not in page] == []


def test_it_has_a_sample_for_every_creative() -> None:
    assert set(SAMPLES) == {creative.id for creative in STARTING}
