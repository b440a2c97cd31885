"""Amounts of money as people of a locale write them."""

from typing import Final

from signals.currencies import exponent

NBSP: Final = "\u00a0"

SYMBOLS: Final = {
    "BRL": "R$", "CHF": "CHF", "CNY": "¥", "CZK": "Kč", "DKK": "kr.", "EUR": "€", "GBP": "£", "HUF": "Ft", "ILS": "₪",
    "INR": "₹", "JPY": "¥", "KRW": "₩", "NOK": "kr", "PLN": "zł", "SEK": "kr", "THB": "฿", "TRY": "₺",
    "UAH": "₴", "USD": "$", "VND": "₫",
}  # fmt: skip
# CLDR's decimal and group signs, and where the symbol stands. Languages not named here write as English does.
_COMMA_AFTER: Final = frozenset(
    {
        "bg",
        "ca",
        "cs",
        "da",
        "de",
        "el",
        "es",
        "et",
        "fi",
        "fr",
        "hr",
        "hu",
        "it",
        "lt",
        "lv",
        "nb",
        "no",
        "pl",
        "pt",
        "ro",
        "ru",
        "sk",
        "sl",
        "sr",
        "sv",
        "uk",
        "vi",
    }
)  # 1.234,56 €
_SPACE_GROUPS: Final = frozenset(
    {"bg", "cs", "et", "fi", "fr", "hu", "lt", "lv", "nb", "no", "pl", "pt", "ru", "sk", "sv", "uk"}
)
_COMMA_BEFORE: Final = frozenset({"id", "nl", "tr"})  # € 1.234,56
_AFTER: Final = frozenset({"ar", "fa", "he", "ur"})  # 1,234.56 ₪


def money(minor: int, currency: str = "USD", locale: str = "en") -> str:
    """Return an amount of whole minor units (cents) as text, `$12.99` or `12,99 €`, without breaking spaces."""
    code = currency.upper()[:3] or "USD"
    language = _language(locale)[0]
    decimals = exponent(code)
    whole, part = divmod(abs(minor), 10**decimals)
    comma = _has_comma(locale)
    digits = grouped(whole, locale)
    if decimals:
        digits += ("," if comma else ".") + f"{part:0{decimals}d}"
    sign = "\u2212" if minor < 0 else ""
    symbol = SYMBOLS.get(code, code)
    if (language in _COMMA_AFTER and comma) or language in _AFTER:
        return f"{sign}{digits}{NBSP}{symbol}"
    spaced = NBSP if symbol.isalpha() or language in _COMMA_BEFORE else ""
    return f"{sign}{symbol}{spaced}{digits}"


def grouped(whole: int, locale: str = "en") -> str:
    """Return a whole number, 0 or more, with the group signs of a locale."""
    language, region = _language(locale)
    digits = _lakhs(whole) if language == "hi" or region == "IN" else f"{whole:,}"
    return digits.replace(",", NBSP if language in _SPACE_GROUPS else ".") if _has_comma(locale) else digits


def _language(locale: str) -> tuple[str, str]:
    language, _, region = locale.replace("_", "-").partition("-")
    return language, region


def _has_comma(locale: str) -> bool:
    """Tell whether a decimal comma is written."""
    language, region = _language(locale)
    comma = language in _COMMA_AFTER or language in _COMMA_BEFORE
    return comma and (language, region) not in {("es", "MX"), ("es", "US")}


def _lakhs(whole: int) -> str:
    """Group as in India: the last three digits, then pairs."""
    text = str(whole)
    head, tail = text[:-3], text[-3:]
    pairs = []
    while head:
        pairs.append(head[-2:])
        head = head[:-2]
    return ",".join([*reversed(pairs), tail])
