"""The creatives a new installation starts with, in light and dark, drawn well without a single photograph.

Each reads only the fields named in docs/creatives.md and looks finished when most of them are missing.
"""

from typing import Final

from msgspec.structs import replace

from render.creative import (
    Art,
    Background,
    Badge,
    Box,
    Button,
    Column,
    Countdown,
    Coupon,
    Creative,
    Grid,
    Item,
    Layer,
    Palette,
    Panel,
    Picture,
    Pill,
    Price,
    Rating,
    Text,
)

HERO: Final = (600, 300)
TILE: Final = (280, 200)

_LIGHT: Final = Palette(surface="#fffdfa", plate="#ffffff", ink="#1d1b19", muted="#5c5751", line="#d9d4cc")
_DARK: Final = Palette(
    surface="#17181c",
    plate="#22242a",
    ink="#f5f3ef",
    muted="#bab6af",
    on_accent="#17181c",
    on_badge="#17181c",
    line="#4a4d57",
)
_SIGN: Final = "{{ product.category|default(product.name) }}"
_SEED: Final = "{{ product.category|default(product.name)|default(offer.headline) }}"
_BRAND: Final = "{{ brand.name }}"
_UNTIL: Final = '{{ offer.eyebrow|default("Until") }} {{ offer.ends_ms|local_time }}'
_BODY: Final = Text("{{ offer.body }}", 16, 14, 3, colour="muted", gap=13, optional=True)
_SMALL_BODY: Final = Text("{{ offer.body }}", 14, 12, 2, colour="muted", gap=6, optional=True)
_PRICE: Final = Price("{{ offer.price_cents }}", "{{ product.price_cents }}", gap=14, optional=True)
_SMALL_PRICE: Final = Price("{{ offer.price_cents }}", "{{ product.price_cents }}", 20, 14, gap=7, optional=True)
_SIDE: Final = Box(366, 0, 234, 300)
_TOP: Final = Box(0, 0, 280, 88)


def _creative(
    number: int, name: str, family: str, size: tuple[int, int], *layers: Layer, over: tuple[Layer, ...] = ()
) -> Creative:
    return Creative(number, name, *size, layers, _LIGHT, _DARK, family, over)


def _text_side(*items: Item) -> Column:
    """The text of a hero, left of its art: safe margins of 36 pixels, and clear of the badge."""
    return Column(Box(36, 24, 284, 252), items)


def _under(*items: Item) -> Column:
    """The text of a tile, under its art."""
    return Column(Box(18, 96, 244, 96), items)


def _grid(box: Box, picture: int, small: bool = False) -> Grid:
    """Products side by side with what each costs under the offer."""
    size = 12 if small else 14
    price = Price("{{ product.offer_cents|default(product.price_cents) }}", "{{ product.price_cents }}", size + 2, 11)
    items = (Text("{{ product.name }}", size, 11, 2, 600), replace(price, gap=3, optional=True))
    return Grid(box, items, picture, "cover", gap=10, padding=8 if small else 10)


def _eyebrow(text: str, size: int = 14) -> Text:
    return Text(f'{{{{ offer.eyebrow|default("{text}") }}}}', size, 11, 1, 600, "@deep")


def _headline(fallback: str, size: int, least: int, gap: int = 8, lines: int = 3) -> Text:
    source = f'{{{{ offer.headline|default(product.name)|default("{fallback}") }}}}'
    return Text(source, size, least, lines, 700, gap=gap)


def _plain_headline(text: str, size: int, least: int, gap: int = 8, lines: int = 3) -> Text:
    """A headline that never names a product, for designs that make no claim."""
    return Text(f'{{{{ offer.headline|default("{text}") }}}}', size, least, lines, 700, gap=gap)


def _sentence(text: str, size: int, least: int, lines: int, gap: int) -> Text:
    return Text(f'{{{{ offer.body|default("{text}") }}}}', size, least, lines, colour="muted", gap=gap)


def _button(text: str) -> Button:
    return Button(f'{{{{ offer.button|default("{text}") }}}}', gap=18)


STARTING: Final[tuple[Creative, ...]] = (
    _creative(
        1, "Restock discount", "discount", HERO,
        Background(),
        Picture(_SIDE, fit="cover", seed=_SEED, pictogram=_SIGN),
        _text_side(
            Pill('{{ offer.eyebrow|default("Time to restock") }}'),
            _headline("Your regulars, for less", 34, 21, 12),
            _BODY,
            _PRICE,
            _button("Save now"),
        ),
        Badge(Box(322, 24, 96, 96), "{{ offer.badge }}", "burst"),
    ),
    _creative(
        2, "Thank you", "thank-you", HERO,
        Background(),
        Art(Box(0, 0, 600, 300), seed=_SEED, style="confetti"),
        Panel(Box(90, 34, 420, 232), "surface", 20),
        Column(
            Box(122, 50, 356, 200),
            (
                Pill("{{ offer.eyebrow }}"),
                Text(
                    '{{ offer.headline|default("Thank you") }}'
                    "{% if profile.first_name %}, {{ profile.first_name }}{% endif %}",
                    36, 22, 2, 700, gap=10,
                ),
                _sentence("Good to have you with us. Enjoy!", 17, 14, 3, 13),
                Button('{{ offer.button|default("See more ideas") }}', gap=18, optional=True),
            ),
            align="center",
        ),
    ),
    _creative(
        3, "Goes well with", "cross-sell", HERO,
        Background("@tint"),
        Picture(Box(24, 24, 240, 252), fit="cover", radius=18, seed=_SEED, pictogram=_SIGN),
        Column(
            Box(300, 26, 268, 248),
            (
                _eyebrow("Goes well with it"),
                _headline("Complete the set", 32, 20),
                _BODY,
                _PRICE,
                _button("Take a look"),
            ),
        ),
        Badge(Box(212, 10, 84, 84), "{{ offer.badge }}"),
    ),
    _creative(
        4, "Step up", "upgrade", HERO,
        Background(),
        Picture(_SIDE, fit="cover", seed=_SEED, style="steps", pictogram=_SIGN),
        _text_side(
            _eyebrow("The next step up"), _headline("Ready for more?", 34, 21), _BODY, _PRICE, _button("Compare")
        ),
        Badge(Box(324, 22, 84, 84), "{{ offer.badge }}"),
    ),
    _creative(
        5, "Product with its price", "price", HERO,
        Background(),
        Picture(Box(336, 24, 240, 252), radius=18, seed=_SEED, pictogram=_SIGN),
        Column(
            Box(36, 24, 268, 252),
            (
                Text("{{ product.brand }}", 14, 12, 1, 600, "muted"),
                Text("{{ product.name|default(offer.headline) }}", 30, 19, 3, 700, gap=6),
                Rating("{{ product.rating }}", "{{ product.rating_count }}"),
                Price("{{ offer.price_cents|default(product.price_cents) }}", "{{ product.price_cents }}", 32, gap=14),
                _button("View product"),
            ),
        ),
        Badge(Box(306, 10, 76, 76), "{{ offer.badge }}"),
    ),
    _creative(
        6, "Neutral", "neutral", HERO,
        Background(),
        Art(Box(0, 0, 600, 300), seed=_BRAND, style="hills"),
        Panel(Box(36, 40, 320, 220), "surface", 20),
        Column(
            Box(64, 56, 264, 188),
            (
                Text(_BRAND, 14, 12, 1, 600, "@deep"),
                _plain_headline("Have a look around", 30, 20, lines=2),
                _sentence("Find something good, whenever it suits you.", 16, 14, 3, 12),
                _button("Visit the shop"),
            ),
        ),
    ),
    _creative(
        7, "Service notice", "service", HERO,
        Background("@tint"),
        Art(Box(320, 0, 280, 300), seed=_BRAND, style="rings"),
        Column(
            Box(40, 30, 330, 240),
            (
                Pill('{{ offer.eyebrow|default("Service") }}', fill="surface"),
                _plain_headline("We are here to help", 30, 20, 12),
                _sentence("Tell us what you need and we will sort it out.", 16, 14, 4, 12),
                _button("Get help"),
            ),
        ),
    ),
    _creative(
        8, "Discount tile", "discount", TILE,
        Background(),
        Picture(_TOP, fit="cover", seed=_SEED, pictogram=_SIGN),
        _under(_headline("A little less to pay", 19, 14, lines=2), _SMALL_BODY, _SMALL_PRICE),
        Badge(Box(202, 7, 74, 74), "{{ offer.badge }}", "burst"),
    ),
    _creative(
        9, "Complement tile", "cross-sell", TILE,
        Background("@tint"),
        Picture(Box(12, 12, 88, 176), fit="cover", radius=12, seed=_SEED, pictogram=_SIGN),
        Column(
            Box(114, 14, 154, 172),
            (
                _eyebrow("Goes well with it", 12),
                _headline("Complete the set", 19, 14, 6),
                _SMALL_BODY,
                _SMALL_PRICE,
                Text('{{ offer.button|default("Take a look") }}', 14, 12, 1, 600, "@deep", gap=10, optional=True),
            ),
        ),
    ),
    _creative(
        10, "Thank-you tile", "thank-you", TILE,
        Background(),
        Art(_TOP, seed=_SEED, style="confetti"),
        _under(_plain_headline("Thank you", 19, 14, lines=2), _sentence("Good to have you with us.", 14, 12, 2, 6)),
    ),
    _creative(
        11, "Neutral tile", "neutral", TILE,
        Background(),
        Art(_TOP, seed=_BRAND, style="hills"),
        _under(
            _plain_headline("Have a look around", 19, 14, lines=2),
            _sentence("Find something good, whenever it suits you.", 14, 12, 2, 6),
        ),
    ),
    _creative(
        12, "Countdown", "discount", HERO,
        Background(),
        Picture(_SIDE, fit="cover", seed=_SEED, pictogram=_SIGN),
        _text_side(
            Pill(_UNTIL, optional=True),
            _headline("Only for a short time", 30, 20, 10, 2),
            Countdown(),
            _button("Save now"),
        ),
        Badge(Box(322, 24, 96, 96), "{{ offer.badge }}", "burst"),
        over=(
            Background(),
            Art(_SIDE, seed=_SEED),
            _text_side(
                Text("This offer has ended", 30, 20, 2, 700),
                Text("There is always something new to find.", 16, 14, 3, colour="muted", gap=12),
                Button("Have a look", gap=18),
            ),
        ),
    ),
    _creative(
        13, "Countdown tile", "discount", TILE,
        Background("@tint"),
        Column(
            Box(18, 16, 244, 168),
            (
                Text(_UNTIL, 13, 11, 1, 600, "@deep", optional=True),
                _headline("Only for a short time", 21, 14, 5, 2),
                Countdown(size=26, gap=12),
                Text('{{ offer.button|default("Save now") }}', 14, 12, 1, 600, "@deep", gap=13, optional=True),
            ),
            align="center",
        ),
        over=(
            Background("@tint"),
            Column(
                Box(18, 16, 244, 168),
                (
                    Text("This offer has ended", 19, 14, 2, 700),
                    Text("There is always something new to find.", 14, 12, 2, colour="muted", gap=6),
                ),
                align="center",
            ),
        ),
    ),
    _creative(
        14, "Coupon", "discount", HERO,
        Background(),
        Picture(_SIDE, fit="cover", seed=_SEED, pictogram=_SIGN),
        _text_side(
            Pill('{{ offer.eyebrow|default("Your coupon") }}'),
            _headline("A little something for you", 30, 19, 12, 2),
            Coupon(),
            Text(
                '{{ offer.body|default("Show this code at the checkout.") }}', 14, 12, 2, colour="muted", gap=10,
                optional=True,
            ),
        ),
        Badge(Box(322, 24, 96, 96), "{{ offer.badge }}", "burst"),
    ),
    _creative(
        15, "Coupon tile", "discount", TILE,
        Background("@tint"),
        Column(Box(14, 14, 124, 172), (Coupon(form="qr", size=120, label=12),), align="center"),
        Column(
            Box(150, 14, 118, 172),
            (
                _eyebrow("Your coupon", 12),
                _headline("For your next visit", 18, 13, 5, 4),
                Text(
                    '{{ offer.body|default("Show it at the checkout.") }}', 13, 11, 3, colour="muted", gap=8,
                    optional=True,
                ),
            ),
        ),
    ),
    _creative(
        16, "Product grid", "cross-sell", HERO,
        Background("@tint"),
        Column(
            Box(28, 14, 544, 62), (_eyebrow("Goes well with it", 13), _headline("Complete the set", 24, 17, 3, 1)),
            align="center",
        ),
        _grid(Box(28, 84, 544, 200), 104),
    ),
    _creative(
        17, "Product grid tile", "cross-sell", TILE,
        Background("@tint"),
        Column(Box(14, 10, 252, 26), (_headline("Goes well with it", 16, 12, lines=1),), align="center"),
        _grid(Box(14, 42, 252, 146), 74, small=True),
    ),
    _creative(
        18, "Bundle", "discount", HERO,
        Background(),
        Column(
            Box(36, 22, 250, 256),
            (
                Pill('{{ offer.eyebrow|default("Better together") }}'),
                _headline("The whole set for less", 28, 19, 10),
                Price("{{ offer.price_cents }}", "{{ offer.was_cents }}", 32, gap=12, optional=True),
                Pill(
                    "{% if offer.saving %}"
                    '{{ offer.saving_text|default("You save") }} {{ offer.saving }}{% endif %}',
                    14, fill="badge", colour="on_badge", gap=10, optional=True,
                ),
                _button("Take them all"),
            ),
        ),
        Grid(
            Box(304, 22, 272, 256),
            (
                Text("{{ product.name }}", 13, 11, 2, 600, gap=0),
                Text("{{ product.price }}", 13, 11, 1, colour="muted", gap=4, optional=True),
            ),
            picture_height=150, fit="cover", colour="@tint",
        ),
    ),
    _creative(
        19, "Upgrade comparison", "upgrade", HERO,
        Background(),
        Column(
            Box(28, 16, 544, 44), (_headline("Ready for the next step?", 26, 17, lines=1),), align="center",
        ),
        Panel(Box(28, 66, 262, 164), "line", 16),
        Panel(Box(29, 67, 260, 162), "surface", 15),
        Panel(Box(310, 66, 262, 164), "@tint", 16),
        Column(
            Box(46, 80, 226, 136),
            (
                Pill('{{ offer.now_label|default("What you have") }}', 12, fill="line"),
                Text('{{ offer.now_name|default("Your current one") }}', 20, 14, 2, 700, "muted", 10),
                Text("{{ offer.now_text }}", 14, 12, 4, colour="muted", gap=8, optional=True),
            ),
            valign="start",
        ),
        Column(
            Box(328, 80, 226, 136),
            (
                Pill('{{ offer.next_label|default("The next step") }}', 12, fill="accent", colour="on_accent"),
                Text('{{ product.name|default(offer.next_name)|default("A better one") }}', 20, 14, 2, 700, gap=10),
                Text("{{ offer.next_text|default(offer.body) }}", 14, 12, 4, colour="muted", gap=8, optional=True),
                Price("{{ offer.price_cents|default(product.price_cents) }}", "{{ product.price_cents }}", 24, gap=10,
                      optional=True),
            ),
            valign="start",
        ),
        Column(Box(28, 240, 544, 48), (Button('{{ offer.button|default("Compare") }}'),), align="center"),
    ),
    _creative(
        20, "Price drop", "price", HERO,
        Background("@tint"),
        Picture(Box(24, 24, 240, 252), fit="cover", radius=18, seed=_SEED, pictogram=_SIGN),
        Column(
            Box(296, 24, 276, 252),
            (
                _eyebrow("The price has dropped"),
                _headline("A favourite for less", 26, 18, 6, 2),
                Price("{{ offer.price_cents }}", "{{ offer.was_cents|default(product.price_cents) }}", 44, gap=12),
                Pill(
                    "{% if offer.saving %}"
                    '{{ offer.saving_text|default("You save") }} {{ offer.saving }}{% endif %}',
                    15, fill="badge", colour="on_badge", gap=10, optional=True,
                ),
                _button("Have a look"),
            ),
        ),
        Badge(Box(214, 10, 78, 78), "{{ offer.badge }}", "burst"),
    ),
    _creative(
        21, "Price drop tile", "price", TILE,
        Background(),
        Picture(_TOP, fit="cover", seed=_SEED, pictogram=_SIGN),
        _under(
            _headline("A favourite for less", 17, 13, lines=2),
            Price("{{ offer.price_cents }}", "{{ offer.was_cents|default(product.price_cents) }}", 24, gap=6),
        ),
        Badge(Box(202, 7, 74, 74), "{{ offer.badge }}", "burst"),
    ),
    _creative(
        22, "Photograph", "discount", HERO,
        # At this shade, white text reaches 4.5:1 even on a white photograph.
        Background("#1d2b33", "#41606b", picture="{{ offer.picture|default(product.picture) }}", shade=0.56),
        Column(
            Box(40, 26, 400, 248),
            (
                Text('{{ offer.eyebrow|default("New in") }}', 15, 12, 1, 600, "#ffffff"),
                replace(_headline("Made for the great outdoors", 40, 24), colour="#ffffff"),
                replace(_BODY, colour="#ffffff"),
                replace(_button("Have a look"), fill="#ffffff", colour="#1c1b1a"),
            ),
            valign="end",
        ),
        Badge(Box(478, 24, 92, 92), "{{ offer.badge }}", "burst", fill="#f7cd61", colour="#1c1b1a"),
    ),
)  # fmt: skip

BY_NAME: Final[dict[str, Creative]] = {creative.name: creative for creative in STARTING}
