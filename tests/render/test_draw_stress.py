"""Every starting creative with texts that no design was made for: nothing overlaps, nothing is cut, nothing missing."""

from __future__ import annotations

from functools import cache

import pytest
from flask.testing import FlaskClient
from msgspec.structs import replace
from PIL import Image, ImageChops

from render.binding import clean, resolve
from render.colour import Paint
from render.creative import Box, Cells, Column, Creative, Resolved
from render.draw import compose, draw
from render.fonts import Run
from render.plan import Plan
from render.samples import SAMPLE_AT_MS
from render.script import clusters, han_face
from render.stack import Sheet, fit
from render.starting import BY_NAME, STARTING
from signals.fold import fold_all
from signals.foldevent import FoldEvent
from tests.render.drawing import fonts
from tests.render.hard_texts import HARD, hard_fields
from tests.render.mail import Mail, browser
from tests.render.shoe_shop import SENT_MS, TIGHTS, plan, product

LAID_OUT = ("200 characters", "unbreakable", "compounds", "Arabic and Latin", "Thai", "Devanagari", "Chinese", "emoji")
LEAN = 4
"""Output pixels that a letter may lean out of its advance: the bow of a j, the foot of an italic."""


def bound(creative: Creative, name: str) -> Resolved:
    locale, text = HARD[name]
    return resolve(creative, hard_fields(creative, text), locale, at_ms=SAMPLE_AT_MS)


def place(resolved: Resolved, box: Box) -> tuple[int, int, int, int]:
    """A box in output pixels, mirrored where the design is."""
    x = resolved.width - box.x - box.w if resolved.rtl else box.x
    return 2 * x, 2 * box.y, 2 * (x + box.w), 2 * (box.y + box.h)


@pytest.mark.parametrize("creative", STARTING, ids=lambda creative: creative.name)
def test_it_keeps_every_script_inside_its_box_without_overlapping(creative: Creative) -> None:
    size = creative.width, creative.height
    for name in LAID_OUT:
        resolved = bound(creative, name)
        paint = Paint(resolved.palette_light, resolved.seed, False)
        blank = Image.new("RGB", (2 * size[0], 2 * size[1]), paint("surface"))
        sheet = Sheet(blank, fonts(), paint, 2, resolved.rtl, resolved.locale)
        for layer in resolved.layers:
            if isinstance(layer, Column | Cells):
                alone = compose(replace(resolved, layers=(layer,)), {}, size, False, fonts())
                ink = ImageChops.difference(alone, blank).getbbox()
                left, top, right, bottom = place(resolved, layer.box if isinstance(layer, Column) else layer.grid.box)
                assert ink is not None, name
                assert (ink[0] >= left - LEAN, ink[1] >= top - LEAN) == (True, True), name
                assert (ink[2] <= right + LEAN, ink[3] <= bottom + LEAN) == (True, True), name
            if isinstance(layer, Column):
                parts = fit(sheet, layer, 2 * layer.box.w, 2 * layer.box.h)
                assert sum(part.height for part in parts) + sum(part.gap for part in parts[1:]) <= 2 * layer.box.h, name
                assert all(part.width <= 2 * layer.box.w for part in parts), name


@cache
def missing_glyph(face: int) -> bytes:
    """What a face draws for a character it has not: the box that nobody shall see."""
    mask = fonts().ink(Run(face, "\U000e01f0"), 40, 400).mask
    return mask.tobytes() if mask is not None else b""


@pytest.mark.feature("EC-21")
@pytest.mark.parametrize("name", HARD)
def test_it_has_a_glyph_for_every_letter_of_every_script(name: str) -> None:
    locale, text = HARD[name]
    assert clean(text) == text
    for cluster in clusters(text.replace(" ", "")):
        face = fonts().pick(cluster, han=han_face(text, locale))
        assert face is not None, cluster
        assert fonts().faces[face].name != "builtin"
        mask = fonts().ink(Run(face, cluster), 40, 400).mask
        assert mask is not None, cluster
        assert mask.tobytes() != missing_glyph(face), cluster


def priced() -> Plan:
    """The shoe shop's plan; its attire names its price."""
    plain, design = plan(), BY_NAME["Product with its price"]
    changes = {"creative": design.id, "shows_price": True, "priority": 9, "fields": {"percent": 20}}
    offers = tuple(replace(one, **changes) if one.id == TIGHTS else one for one in plain.offers)
    slots = tuple(replace(slot, height=300) for slot in plain.slots)
    return replace(plain, offers=offers, slots=slots, creatives=(*plain.creatives, design), currency="EUR")


@pytest.mark.feature("EC-21")
@pytest.mark.parametrize(
    ("locale", "title", "currency", "price", "is_mirrored"),
    [
        ("de-DE", "Laufhose für Damen", "EUR", "39,99\u00a0€", False),
        ("ja", "レディース ランニングタイツ", "JPY", "¥3,999", False),
        ("ar", "سروال ركض نسائي", "USD", "39.99\u00a0$", True),
        ("he-IL", "טייץ ריצה לנשים", "ILS", "39.99\u00a0₪", True),
        ("zh-TW", "女款跑步緊身褲", "USD", "$39.99", False),
    ],
)
def test_it_speaks_the_language_of_the_reader_at_the_open(
    client: FlaskClient, mail: Mail, locale: str, title: str, currency: str, price: str, is_mirrored: bool
) -> None:
    mail.publish(priced())
    mail.stock(replace(product(), title=title, currency=currency))
    told: dict[str, str | float | int | bool | None] = {"locale": locale}
    mail.know(fold_all([FoldEvent(time_ms=SENT_MS, message_id="m1", kind="traits", traits=told)]))
    answer = client.get(mail.url(), headers=browser())
    chosen = mail.lane().chosen[0]
    assert (chosen.offer, chosen.fields["offer.price"]) == (TIGHTS, price)
    resolved = resolve(BY_NAME["Product with its price"], chosen.fields, locale, "EUR")
    assert resolved.rtl is is_mirrored
    assert draw(resolved, {}, (600, 300), "jpg", False, fonts(), 150_000) == answer.data
