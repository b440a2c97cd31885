"""Instants and spans as people of a locale write them, from the Unicode CLDR."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import Final, NamedTuple

from babel import Locale, UnknownLocaleError
from babel.dates import format_skeleton, format_time, get_datetime_format
from babel.units import get_unit_name

from signals.moments import ORIGIN, ORIGIN_MS
from signals.readings import zone_of

UTC_NAMES: Final = ("", "UTC", "Etc/UTC")
LANGUAGES: Final = frozenset({
    "am", "ar", "az", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "gu", "he", "hi",
    "hr", "hu", "hy", "id", "it", "ja", "ka", "km", "kn", "ko", "lo", "lt", "lv", "ml", "mr", "ms", "my", "nb", "nl",
    "no", "pa", "pl", "pt", "ro", "ru", "si", "sk", "sl", "sq", "sr", "sv", "ta", "te", "th", "tr", "uk", "ur", "uz",
    "vi", "zh",
})  # fmt: skip
"""Languages whose calendar is held once it was asked for: about 1.2 MB each, so they are counted."""
REGIONS: Final = frozenset(
    {"en_AU", "en_CA", "en_GB", "en_IE", "en_IN", "en_NZ", "de_AT", "de_CH", "es_MX", "fr_CA", "fr_CH", "pt_PT"}
)
"""Regions that write days or hours unlike their language does."""
MAX_MS: Final = 253_402_300_000_000
"""The last seconds of the year 9999, the end of the calendar."""


class Units(NamedTuple):
    """The names of days, hours, minutes and seconds in one locale."""

    days: str
    hours: str
    minutes: str
    seconds: str


@lru_cache(maxsize=128)
def calendar_locale(locale: str) -> Locale:
    """The CLDR locale for a locale's name: its region where that matters, else its language, else English."""
    language, _, rest = locale.replace("-", "_").partition("_")
    language = language.lower()
    if language not in LANGUAGES:
        return Locale("en")
    if language == "zh":
        return Locale(
            "zh", script="Hant" if rest.upper()[-2:] in ("TW", "HK", "MO") or "hant" in rest.lower() else "Hans"
        )
    name = f"{language}_{rest.upper()}"
    try:
        return Locale.parse(name if name in REGIONS else language)
    except UnknownLocaleError:
        return Locale("en")


@lru_cache(maxsize=128)
def unit_names(locale: str, length: str = "long") -> Units:
    """The four units of a countdown, `long` or `short`."""
    found = calendar_locale(locale)
    names = [
        get_unit_name(f"duration-{unit}", length="short" if length == "short" else "long", locale=found)
        for unit in ("day", "hour", "minute", "second")
    ]
    return Units(*(name or "" for name in names))


def local_time(at_ms: int, zone: str, locale: str) -> str:
    """An instant (Unix ms) as `Tue, Mar 3, 6:00 PM` in the zone; where nobody knows the zone, in UTC, which is said.

    Empty for an instant outside the calendar.
    """
    if not 0 <= at_ms <= MAX_MS:
        return ""
    found = calendar_locale(locale)
    where = zone_of(zone)
    try:
        moment = (ORIGIN + timedelta(milliseconds=at_ms - ORIGIN_MS)).astimezone(where)
    except OverflowError:
        return ""
    hour = format_time(moment, "short", locale=found).replace("\u202f", "\u00a0")
    known = "" if where.key not in UTC_NAMES else "\u00a0UTC"
    day = format_skeleton("MMMEd", moment, locale=found)
    both = str(get_datetime_format("medium", locale=found)).replace("'", "")
    return both.replace("{0}", hour + known).replace("{1}", day)
