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

SAMPLES: Final[Mapping[int, Sample]] = {
    1: {
        **_SHOES,
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
    15: {"product.category": "Coffee", "offer.headline": "A free coffee on us", "offer.coupon": "COFFEE-3F9"},
}
