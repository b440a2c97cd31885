"""Made-up fields that show each starting creative at its best, for galleries, screenshots and tests."""

from collections.abc import Mapping
from typing import Final

Sample = Mapping[str, str | int | float]

_SHOES: Final = {
    "product.name": "Aero Glide 5 running shoes",
    "product.category": "Running shoes",
    "product.brand": "Aero",
}
_BRAND: Final = {"brand.name": "Corner Market"}
SAMPLE_AT_MS: Final = 1_772_452_800_000
"""2026-03-02, 12:00 UTC: when samples are looked at."""
_ENDS: Final[Sample] = {
    "offer.ends_ms": SAMPLE_AT_MS + ((2 * 24 + 7) * 3600 + 25 * 60 + 40) * 1000,
    "profile.timezone": "America/New_York",
}

_GEAR: Final[Sample] = {
    "offer.headline": "Running gear for your next 10 km",
    "offer.eyebrow": "Goes well with your shoes",
}


def _products(*names: str) -> Sample:
    """Products of a grid; each costs a little more than the one before."""
    fields: dict[str, str | int | float] = {}
    for number, name in enumerate(names):
        full = 2499 + 1000 * number
        own: Sample = {"name": name, "category": name, "price_cents": full, "offer_cents": full * 8 // 10}
        fields |= {f"products.{number}.{field}": value for field, value in own.items()}
        fields[f"products.{number}.price"] = f"${full / 100:.2f}"
    return fields


SAMPLES: Final[Mapping[int, Sample]] = {
    1: {
        **_SHOES,
        "offer.eyebrow": "Time to restock",
        "offer.badge": "20% off",
        "offer.headline": "Fresh running shoes, 20% less",
        "offer.body": "For the next pair, in all sizes.",
        "offer.button": "Save 20%",
    },
    2: {
        **_SHOES,
        "profile.first_name": "Maria",
        "offer.body": "Your new running shoes are on their way. Have a great first run!",
        "offer.button": "Plan your first run",
    },
    3: {
        "product.category": "Apparel",
        "offer.eyebrow": "Goes well with running shoes",
        "offer.headline": "Running gear for your next 10 km",
        "offer.body": "Light shirts and socks that dry fast.",
        "offer.button": "See the gear",
    },
    4: {
        "product.category": "Coffee",
        "offer.headline": "From instant to freshly ground",
        "offer.body": "Whole beans, roasted this month.",
        "offer.price_cents": 1299,
        "product.price_cents": 1599,
    },
    5: {
        **_SHOES,
        "offer.price_cents": 8999,
        "product.price_cents": 11999,
        "product.rating": 4.4,
        "product.rating_count": 212,
        "offer.badge": "25% off",
    },
    6: _BRAND,
    7: {
        **_BRAND,
        "offer.eyebrow": "Customer service",
        "offer.headline": "About your last order",
        "offer.body": "We are sorry that something went wrong. Our team answers within a day.",
    },
    8: {
        "product.category": "Yogurt",
        "offer.headline": "Yogurt for the week",
        "offer.badge": "15% off",
        "offer.body": "All flavours, all sizes.",
    },
    9: {"product.category": "Cheese", "offer.headline": "Cheese for the board", "offer.eyebrow": "With your wine"},
    10: {"product.category": "Coffee"},
    11: _BRAND,
    12: {**_SHOES, **_ENDS, "offer.headline": "Fresh running shoes, 20% less", "offer.badge": "20% off"},
    13: {
        **_ENDS,
        "product.category": "Coffee",
        "offer.headline": "Every roast for less",
        "offer.button": "Choose yours",
    },
    14: {
        **_SHOES,
        "offer.headline": "20% off your next pair",
        "offer.coupon": "SHOES20-7K4M",
        "offer.badge": "20% off",
    },
    16: {**_products("Breeze shirt", "Dry socks", "Featherlight rain jacket", "Gym bag"), **_GEAR},
    17: {**_products("Breeze shirt", "Dry socks"), **_GEAR},
    18: {
        **_products("Whole bean coffee", "Coffee filters"),
        "offer.headline": "Coffee and filters, one price",
        "offer.price_cents": 4990,
        "offer.was_cents": 5998,
        "offer.saving": "$10.08",
        "offer.button": "Take both",
    },
    19: {
        "product.name": "Aero Glide 5 Pro",
        "product.category": "Running shoes",
        "offer.headline": "Ready for your next marathon?",
        "offer.now_name": "Aero Glide 3",
        "offer.now_text": "Good for easy runs. Yours have about 800 km behind them.",
        "offer.next_text": "A plate that gives back, and 40 g less on each foot.",
        "offer.price_cents": 14999,
        "product.price_cents": 17999,
    },
    20: {
        **_SHOES,
        "offer.headline": "Aero Glide 5 running shoes",
        "offer.price_cents": 8999,
        "offer.was_cents": 11999,
        "offer.saving": "$30.00",
        "offer.badge": "25% off",
    },
    21: {
        "product.category": "Coffee",
        "offer.headline": "Whole bean coffee, 1 kg",
        "offer.price_cents": 1299,
        "offer.was_cents": 1599,
        "offer.badge": "19% off",
    },
    22: {
        "offer.headline": "Trails that begin at your door",
        "offer.body": "Shoes, jackets and packs for the first warm days.",
        "offer.button": "Plan a day out",
    },
    15: {"product.category": "Coffee", "offer.headline": "A free coffee on us", "offer.coupon": "COFFEE-3F9"},
}
