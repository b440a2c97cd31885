"""The large starting creatives, one to a mail's width."""

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
    Panel,
    Picture,
    Pill,
    Price,
    Rating,
    Text,
)
from render.pieces import BRAND, HERO, SEED, SIGN, UNTIL, creative, eyebrow, grid, headline, plain_headline, sentence

BODY: Final = Text("{{ offer.body }}", 16, 14, 3, colour="muted", gap=13, optional=True)
PRICE: Final = Price("{{ offer.price_cents }}", "{{ product.price_cents }}", gap=14, optional=True)
SIDE: Final = Box(366, 0, 234, 300)
BADGE: Final = Box(322, 20, 92, 92)
"""On the edge of the side's art, clear of the text and of the sign in its middle."""
CORNER: Final = Box(10, 10, 80, 80)
"""Over the outer corner of a picture that stands first, where it touches no text."""


def text_side(*items: Item, width: int = 276) -> Column:
    """The text of a hero, left of its art: safe margins of 36 pixels, and clear of the badge."""
    return Column(Box(36, 24, width, 252), items)


def button(text: str) -> Button:
    """What asks for the click: the offer's own words, else `text`."""
    return Button(f'{{{{ offer.button|default("{text}") }}}}', gap=18)


HEROES: Final[tuple[Creative, ...]] = (
    creative(
        1, "Restock discount", "discount", HERO,
        Background(),
        Picture(SIDE, fit="cover", seed=SEED, pictogram=SIGN),
        text_side(
            Pill("{{ offer.eyebrow }}"),
            headline("Your regulars, for less", 34, 21, 12),
            BODY,
            PRICE,
            button("Save now"),
        ),
        Badge(BADGE, "{{ offer.badge }}", "burst"),
    ),
    creative(
        2, "Thank you", "thank-you", HERO,
        Background(),
        Art(Box(0, 0, 600, 300), seed=SEED, style="confetti"),
        Panel(Box(90, 34, 420, 232), "surface", 20),
        Column(
            Box(122, 50, 356, 200),
            (
                Pill("{{ offer.eyebrow }}"),
                Text(
                    '{{ offer.headline|default("Thank you") }}'
                    "{% if profile.first_name and profile.first_name not in offer.headline|default('')"
                    " and '!' not in offer.headline|default('') and '.' not in offer.headline|default('') %}"
                    ", {{ profile.first_name }}{% endif %}",
                    36, 22, 2, 700, gap=10,
                ),
                sentence("Good to have you with us. Enjoy!", 17, 14, 3, 13),
                Button('{{ offer.button|default("See more ideas") }}', gap=18, optional=True),
            ),
            align="center",
        ),
    ),
    creative(
        3, "Goes well with", "cross-sell", HERO,
        Background("@tint"),
        Picture(Box(24, 24, 240, 252), fit="cover", radius=18, seed=SEED, pictogram=SIGN),
        Column(
            Box(300, 26, 268, 248),
            (
                eyebrow("Goes well with it"),
                headline("Complete the set", 32, 20),
                BODY,
                PRICE,
                button("Take a look"),
            ),
        ),
        Badge(CORNER, "{{ offer.badge }}"),
    ),
    creative(
        4, "Step up", "upgrade", HERO,
        Background(),
        Picture(SIDE, fit="cover", seed=SEED, style="steps", pictogram=SIGN),
        text_side(
            eyebrow("The next step up"), headline("Ready for more?", 34, 21), BODY, PRICE, button("Compare")
        ),
        Badge(Box(326, 200, 80, 80), "{{ offer.badge }}"),
    ),
    creative(
        5, "Product with its price", "price", HERO,
        Background(),
        Picture(Box(336, 24, 240, 252), radius=18, seed=SEED, pictogram=SIGN),
        Column(
            Box(36, 24, 268, 252),
            (
                Text("{{ product.brand }}", 14, 12, 1, 600, "muted"),
                Text("{{ product.name|default(offer.headline) }}", 30, 19, 3, 700, gap=6),
                Rating("{{ product.rating }}", "{{ product.rating_count }}", gap=10),
                Price("{{ offer.price_cents|default(product.price_cents) }}", "{{ product.price_cents }}", 32, gap=14),
                button("View product"),
            ),
        ),
        Badge(Box(306, 10, 76, 76), "{{ offer.badge }}"),
    ),
    creative(
        6, "Neutral", "neutral", HERO,
        Background(),
        Art(Box(0, 0, 600, 300), seed=BRAND, style="hills"),
        Panel(Box(36, 40, 320, 220), "surface", 20),
        Column(
            Box(64, 56, 264, 188),
            (
                Text(BRAND, 14, 12, 1, 600, "@deep"),
                plain_headline("Have a look around", 30, 20, lines=2),
                sentence("Find something good, whenever it suits you.", 16, 14, 3, 12),
                button("Visit the shop"),
            ),
        ),
    ),
    creative(
        7, "Service notice", "service", HERO,
        Background("@tint"),
        Art(Box(320, 0, 280, 300), seed=BRAND, style="rings"),
        Column(
            Box(36, 30, 300, 240),
            (
                Pill('{{ offer.eyebrow|default("Service") }}', fill="surface"),
                plain_headline("We are here to help", 30, 20, 12),
                sentence("Tell us what you need and we will sort it out.", 16, 14, 4, 12),
                button("Get help"),
            ),
        ),
    ),
    creative(
        12, "Countdown", "discount", HERO,
        Background(),
        Picture(SIDE, fit="cover", seed=SEED, pictogram=SIGN),
        text_side(
            Pill(UNTIL, optional=True),
            headline("Only for a short time", 30, 20, 10, 2),
            Countdown(),
            button("Save now"),
        ),
        Badge(BADGE, "{{ offer.badge }}", "burst"),
        over=(
            Background(),
            Art(SIDE, seed=SEED),
            text_side(
                Text("This offer has ended", 30, 20, 2, 700),
                Text("There is always something new to find.", 16, 14, 3, colour="muted", gap=12),
                Button("Have a look", gap=18),
            ),
        ),
    ),
    creative(
        14, "Coupon", "discount", HERO,
        Background(),
        Picture(SIDE, fit="cover", seed=SEED, pictogram=SIGN),
        text_side(
            Pill('{{ offer.eyebrow|default("Your coupon") }}'),
            headline("A little something for you", 30, 19, 12, 2),
            Coupon(),
            Text(
                '{{ offer.body|default("Show this code at the checkout.") }}', 14, 12, 2, colour="muted", gap=10,
                optional=True,
            ),
            # A module of a common code is three pixels wide here, which old scanners read too.
            width=284,
        ),
        Badge(BADGE, "{{ offer.badge }}", "burst"),
    ),
    creative(
        16, "Product grid", "cross-sell", HERO,
        Background("@tint"),
        Column(
            Box(28, 14, 544, 62), (eyebrow("Goes well with it", 13), headline("Complete the set", 24, 17, 3, 1)),
            align="center",
        ),
        grid(Box(28, 84, 544, 200), 104),
    ),
    creative(
        18, "Bundle", "discount", HERO,
        Background(),
        Column(
            Box(36, 22, 250, 256),
            (
                Pill('{{ offer.eyebrow|default("Better together") }}'),
                headline("The whole set for less", 28, 19, 10),
                Price("{{ offer.price_cents }}", "{{ offer.was_cents }}", 32, gap=12, optional=True),
                Pill(
                    "{% if offer.saving %}"
                    '{{ offer.saving_text|default("You save") }} {{ offer.saving }}{% endif %}',
                    14, fill="badge", colour="on_badge", gap=10, optional=True,
                ),
                button("Take them all"),
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
    creative(
        19, "Upgrade comparison", "upgrade", HERO,
        Background(),
        Column(
            Box(28, 16, 544, 44), (headline("Ready for the next step?", 26, 17, lines=1),), align="center",
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
        # Mirrored with the text: it points on from what one has in either direction.
        Badge(Box(282, 130, 36, 36), "›", fill="accent", colour="on_accent"),
        Column(Box(28, 240, 544, 48), (Button('{{ offer.button|default("Compare") }}'),), align="center"),
    ),
    creative(
        20, "Price drop", "price", HERO,
        Background("@tint"),
        Picture(Box(24, 24, 240, 252), fit="cover", radius=18, seed=SEED, pictogram=SIGN),
        Column(
            Box(296, 24, 276, 252),
            (
                eyebrow("The price has dropped"),
                headline("A favourite for less", 26, 18, 6, 2),
                Price("{{ offer.price_cents }}", "{{ offer.was_cents|default(product.price_cents) }}", 44, gap=12),
                Pill(
                    "{% if offer.saving %}"
                    '{{ offer.saving_text|default("You save") }} {{ offer.saving }}{% endif %}',
                    15, fill="badge", colour="on_badge", gap=10, optional=True,
                ),
                button("Have a look"),
            ),
        ),
        Badge(CORNER, "{{ offer.badge }}", "burst"),
    ),
    creative(
        22, "Photograph", "discount", HERO,
        # At this shade, white text reaches 4.5:1 even on a white photograph; what is beside the text stays clear.
        Background(
            "#1d2b33", "#41606b", picture="{{ offer.picture|default(product.picture) }}", shade=0.56, shade_to=0.66
        ),
        Column(
            Box(36, 26, 360, 248),
            (
                Text('{{ offer.eyebrow|default("New in") }}', 15, 12, 1, 600, "#ffffff"),
                replace(headline("Made for the great outdoors", 40, 24), colour="#ffffff"),
                replace(BODY, colour="#ffffff"),
                replace(button("Have a look"), fill="#ffffff", colour="#1c1b1a"),
            ),
            valign="end",
        ),
        Badge(Box(480, 28, 92, 92), "{{ offer.badge }}", "burst", fill="#f7cd61", colour="#1c1b1a"),
    ),
)  # fmt: skip
