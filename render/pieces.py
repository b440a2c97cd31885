"""What the starting creatives have in common: sizes, palettes, and texts that read the fields of an offer."""

from typing import Final

from msgspec.structs import replace

from render.creative import Box, Creative, Grid, Layer, Palette, Price, Text

HERO: Final = (600, 300)
TILE: Final = (280, 200)

# The surface is the ground of the shipped mails, light and dark, so that no picture stands in a box of its own.
_LIGHT: Final = Palette(surface="#ffffff", plate="#ffffff", ink="#1d1b19", muted="#5c5751", line="#d9d4cc")
_DARK: Final = Palette(
    surface="#17181c",
    plate="#22242a",
    ink="#f5f3ef",
    muted="#bab6af",
    on_accent="#17181c",
    on_badge="#17181c",
    line="#4a4d57",
)
SIGN: Final = "{{ product.category|default(product.name) }}"
SEED: Final = "{{ product.category|default(product.name)|default(offer.headline) }}"
BRAND: Final = "{{ brand.name }}"
UNTIL: Final = '{{ offer.eyebrow|default("Until") }} {{ offer.ends_ms|local_time }}'


def creative(
    number: int, name: str, family: str, size: tuple[int, int], *layers: Layer, over: tuple[Layer, ...] = ()
) -> Creative:
    """A design of this size in the common palettes."""
    return Creative(number, name, *size, layers, _LIGHT, _DARK, family, over)


def grid(box: Box, picture: int, small: bool = False) -> Grid:
    """Products side by side with what each costs under the offer."""
    size = 12 if small else 14
    price = Price("{{ product.offer_cents|default(product.price_cents) }}", "{{ product.price_cents }}", size + 2, 11)
    items = (Text("{{ product.name }}", size, 11, 2, 600), replace(price, gap=5, optional=True))
    return Grid(box, items, picture, "cover", gap=10, padding=8 if small else 10)


def eyebrow(text: str, size: int = 14) -> Text:
    """The line above the headline."""
    return Text(f'{{{{ offer.eyebrow|default("{text}") }}}}', size, 11, 1, 600, "@deep")


def headline(fallback: str, size: int, least: int, gap: int = 8, lines: int = 3) -> Text:
    """The offer's headline, else the product's name, else `fallback`."""
    source = f'{{{{ offer.headline|default(product.name)|default("{fallback}") }}}}'
    return Text(source, size, least, lines, 700, gap=gap)


def plain_headline(text: str, size: int, least: int, gap: int = 8, lines: int = 3) -> Text:
    """A headline that never names a product, for designs that make no claim."""
    return Text(f'{{{{ offer.headline|default("{text}") }}}}', size, least, lines, 700, gap=gap)


def sentence(text: str, size: int, least: int, lines: int, gap: int) -> Text:
    """The offer's text, else `text`."""
    return Text(f'{{{{ offer.body|default("{text}") }}}}', size, least, lines, colour="muted", gap=gap)
