"""Made-up facts with which creatives are looked at: usual ones, the longest, none at all, and other scripts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from render.money import money
from render.samples import SAMPLE_AT_MS

_PRICES: Final[dict[str, str | int | float]] = {
    "offer.ends_ms": SAMPLE_AT_MS + 200_000_000, "offer.coupon": "SHOES20-7K4M",
    "offer.price_cents": 8999, "offer.was_cents": 11999, "product.price_cents": 11999, "product.rating": 4.4,
    "product.rating_count": 212,
}  # fmt: skip


class Sample(Struct, frozen=True):
    """What a creative is shown with: a title for people, the reader's locale, a currency, and the fields."""

    title: str
    locale: str
    currency: str
    fields: Mapping[str, str | int | float]


def _sample(title: str, locale: str, currency: str, texts: tuple[str, ...], others: tuple[str, str]) -> Sample:
    """Texts in this order: product, category, headline, body, badge, button, eyebrow, first name.

    `others` are the products that stand beside the first in designs for several.
    """
    names = (
        "product.name", "product.category", "offer.headline", "offer.body", "offer.badge", "offer.button",
        "offer.eyebrow", "profile.first_name",
    )  # fmt: skip
    told: dict[str, str | int | float] = dict(zip(names, texts, strict=True))
    told |= {"product.currency": currency, "brand.name": "Corner Market", "offer.saving": money(3000, currency, locale)}
    for number, (name, cents) in enumerate(zip((texts[0], *others), (11999, 2499, 1499), strict=True)):
        own: dict[str, str | int] = {
            "name": name, "category": texts[1] if not number else name, "currency": currency, "price_cents": cents,
            "offer_cents": cents * 3 // 4, "price": money(cents, currency, locale),
        }  # fmt: skip
        told |= {f"products.{number}.{field}": value for field, value in own.items()}
    return Sample(title, locale, currency, _PRICES | told)


SAMPLES: Final[Mapping[str, Sample]] = {
    "usual": _sample(
        "Usual", "en", "EUR",
        ("Aero Glide 5 running shoes", "Running shoes", "Fresh running shoes, 25% less",
         "For the next pair, in all sizes.", "25% off", "Save 25%", "Just for you", "Maria"),
        ("Breeze shirt", "Dry socks"),
    ),
    "long": _sample(
        "Longest names", "en", "EUR",
        ("Aero Glide 5 Extra Cushioned Long Distance Road Running Shoes for Women, Wide Fit, Midnight Blue and Coral",
         "Running shoes and accessories for long distances on roads and trails",
         "Everything that you need for your very next long run is here, and all of it costs a quarter less this week",
         "Choose from all sizes and all colours, try them at home for a hundred days, and send back what does not fit.",
         "25% off everything", "Save a quarter on your next pair", "Chosen for you because you run",
         "Maximiliana-Alexandrina"),
        ("Featherlight Waterproof Running Jacket with Reflective Stripes for Women, Coral, Extra Large",
         "Merino Socks that Dry Fast, Three Pairs, Grey, Blue and Coral"),
    ),
    "bare": Sample("Nothing known", "en", "EUR", {"brand.name": "Corner Market"}),
    "de": _sample(
        "German", "de", "EUR",
        ("Hochleistungs-Langstreckenlaufschuh Aero Glide 5", "Laufschuhe", "Neue Laufschuhe, ein Viertel günstiger",
         "Für das nächste Paar, in allen Größen.", "−25 %", "Jetzt sparen", "Nur für dich", "Jörg"),
        ("Federleichtes Laufshirt", "Trockensocken"),
    ),
    "ar": _sample(
        "Arabic (right to left)", "ar", "EUR",
        ("حذاء الجري ايرو جلايد 5", "أحذية الجري", "أحذية جري جديدة بخصم 25٪", "للزوج القادم وبجميع المقاسات.",
         "خصم 25٪", "وفّر الآن", "لك وحدك", "مريم"),
        ("قميص خفيف", "جوارب سريعة الجفاف"),
    ),
    "he": _sample(
        "Hebrew (right to left)", "he", "ILS",
        ("נעלי ריצה Aero Glide 5", "נעלי ריצה", "נעלי ריצה חדשות ב־25% פחות", "לזוג הבא, בכל המידות.", "25% הנחה",
         "לחיסכון", "במיוחד בשבילך", "נועה"),
        ("חולצת ריצה קלה", "גרביים"),
    ),
    "ja": _sample(
        "Japanese", "ja", "JPY",
        ("エアログライド5 ランニングシューズ", "ランニングシューズ", "新しいランニングシューズが25%オフ",
         "次の一足に。全サイズそろっています。", "25%オフ", "お得に買う", "あなたへのおすすめ", "花子"),
        ("ブリーズシャツ", "速乾ソックス"),
    ),
    "zh": _sample(
        "Chinese", "zh-CN", "CNY",
        ("Aero Glide 5 跑鞋", "跑鞋", "新款跑鞋立减25%", "为您的下一双，尺码齐全。", "减25%", "立即购买",
         "为您推荐", "玛丽"),
        ("透气跑步衬衫", "速干袜"),
    ),
    "hi": _sample(
        "Hindi", "hi", "INR",
        ("एरो ग्लाइड 5 दौड़ने के जूते", "दौड़ने के जूते", "दौड़ने के नए जूते, 25% कम दाम पर", "अगली जोड़ी के लिए, हर नाप में।",
         "25% छूट", "अभी बचत करें", "सिर्फ़ आपके लिए", "आरती"),
        ("हल्की कमीज़", "सूखे मोज़े"),
    ),
    "th": _sample(
        "Thai", "th", "THB",
        ("รองเท้าวิ่งแอโรไกลด์ 5", "รองเท้าวิ่ง", "รองเท้าวิ่งคู่ใหม่ ลด 25%", "สำหรับคู่ถัดไป มีทุกขนาด", "ลด 25%", "ประหยัดเลย",
         "สำหรับคุณ", "มาลี"),
        ("เสื้อวิ่งเบาสบาย", "ถุงเท้าแห้งไว"),
    ),
    "emoji": _sample(
        "Emoji", "en", "EUR",
        ("Aero Glide 5 👟", "Running shoes", "Fresh kicks 👟 25% less 🔥", "For your next pair 🏃 in all sizes.",
         "25% off", "Save now 💸", "New this week 🎉", "Maria 🌸"),
        ("Breeze shirt 👕", "Dry socks 🧦"),
    ),
}  # fmt: skip
