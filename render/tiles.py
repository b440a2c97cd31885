"""The small starting creatives, two side by side in a mail's width."""

from typing import Final

from render.creative import Art, Background, Badge, Box, Column, Countdown, Coupon, Creative, Item, Picture, Price, Text
from render.pieces import BRAND, SEED, SIGN, TILE, UNTIL, creative, eyebrow, grid, headline, plain_headline, sentence

SMALL_BODY: Final = Text("{{ offer.body }}", 14, 12, 2, colour="muted", gap=6, optional=True)
SMALL_PRICE: Final = Price("{{ offer.price_cents }}", "{{ product.price_cents }}", 20, 14, gap=7, optional=True)
TOP: Final = Box(0, 0, 280, 84)
BADGE: Final = Box(200, 6, 72, 72)


def under(*items: Item) -> Column:
    """The text of a tile, under its art."""
    return Column(Box(18, 92, 244, 100), items)


def link(text: str, gap: int = 10) -> Text:
    """What asks for the click where there is no room for a button."""
    return Text(f'{{{{ offer.button|default("{text}") }}}}', 14, 12, 1, 600, "@deep", gap=gap, optional=True)


TILES: Final[tuple[Creative, ...]] = (
    creative(
        8, "Discount tile", "discount", TILE,
        Background(),
        Picture(TOP, fit="cover", seed=SEED, pictogram=SIGN),
        under(headline("A little less to pay", 19, 14, lines=2), SMALL_BODY, SMALL_PRICE, link("Save now")),
        Badge(BADGE, "{{ offer.badge }}", "burst"),
    ),
    creative(
        9, "Complement tile", "cross-sell", TILE,
        Background("@tint"),
        Picture(Box(12, 12, 88, 176), fit="cover", radius=12, seed=SEED, pictogram=SIGN),
        Column(
            Box(114, 14, 154, 172),
            (
                eyebrow("Goes well with it", 12),
                headline("Complete the set", 19, 14, 6),
                SMALL_BODY,
                SMALL_PRICE,
                link("Take a look"),
            ),
        ),
    ),
    creative(
        10, "Thank-you tile", "thank-you", TILE,
        Background(),
        Art(TOP, seed=SEED, style="confetti"),
        under(plain_headline("Thank you", 19, 14, lines=2), sentence("Good to have you with us.", 14, 12, 2, 6),
              link("See more ideas")),
    ),
    creative(
        11, "Neutral tile", "neutral", TILE,
        Background(),
        Art(TOP, seed=BRAND, style="hills"),
        under(
            plain_headline("Have a look around", 19, 14, lines=2),
            sentence("Find something good, whenever it suits you.", 14, 12, 2, 6),
            link("Visit the shop"),
        ),
    ),
    creative(
        13, "Countdown tile", "discount", TILE,
        Background("@tint"),
        Column(
            Box(18, 16, 244, 168),
            (
                Text(UNTIL, 13, 11, 1, 600, "@deep", optional=True),
                headline("Only for a short time", 21, 14, 5, 2),
                Countdown(size=26, gap=12),
                link("Save now", 13),
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
    creative(
        15, "Coupon tile", "discount", TILE,
        Background("@tint"),
        Column(Box(14, 14, 124, 172), (Coupon(form="qr", size=120, label=12),), align="center"),
        Column(
            Box(150, 14, 118, 172),
            (
                eyebrow("Your coupon", 12),
                headline("For your next visit", 18, 13, 5, 4),
                Text(
                    '{{ offer.body|default("Show it at the checkout.") }}', 13, 11, 3, colour="muted", gap=8,
                    optional=True,
                ),
            ),
        ),
    ),
    creative(
        17, "Product grid tile", "cross-sell", TILE,
        Background("@tint"),
        Column(Box(14, 10, 252, 26), (headline("Goes well with it", 16, 12, lines=1),), align="center"),
        grid(Box(14, 42, 252, 146), 74, small=True),
    ),
    creative(
        21, "Price drop tile", "price", TILE,
        Background(),
        Picture(TOP, fit="cover", seed=SEED, pictogram=SIGN),
        under(
            headline("A favourite for less", 17, 13, lines=2),
            Price("{{ offer.price_cents }}", "{{ offer.was_cents|default(product.price_cents) }}", 24, gap=6),
            link("Have a look"),
        ),
        Badge(BADGE, "{{ offer.badge }}", "burst"),
    ),
)  # fmt: skip
