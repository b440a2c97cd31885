"""Writing systems: what stays together, where a line may break, which way letters run, which Han shapes to use.

This covers what short texts in pictures need of Unicode's rules (UAX 9, 14 and 29). Thai, Japanese and Chinese have no
spaces between words; there BudouX, a small trained segmenter, finds where a reader would pause.
"""

import unicodedata
from functools import lru_cache
from itertools import accumulate
from typing import Final

import budoux
from bidi import algorithm as bidi

_RTL_KINDS: Final = frozenset({"R", "AL", "AN"})
_ZWJ: Final = "\u200d"
_VIRAMAS: Final = frozenset("\u094d\u09cd\u0a4d\u0acd\u0b4d\u0bcd\u0c4d\u0ccd\u0d4d\u0dca\u1039\u17d2")
# Kinsoku: what must not begin, or end, a line of Chinese or Japanese.
_NO_START: Final = frozenset(
    "、。，．・：；？！）］｝」』】〕〉》ーぁぃぅぇぉっゃゅょァィゥェォッャュョ々%％,.!?:;)]}”’…"
)
_NO_END: Final = frozenset("（［｛「『【〔〈《([{“‘¥￥$€£#")


def clusters(text: str) -> list[str]:
    """Split into what a reader takes for one character: a letter with its marks, a conjunct, a family, a flag."""
    parts: list[str] = []
    for char in text:
        if parts and _joins(parts[-1], char):
            parts[-1] += char
        else:
            parts.append(char)
    return parts


def _joins(cluster: str, char: str) -> bool:
    """Tell whether a character belongs to the cluster before it."""
    last = cluster[-1]
    if last in (" ", "\n"):
        return False
    if unicodedata.category(char)[0] == "M" or char in (_ZWJ, "\u200c") or last == _ZWJ or last in _VIRAMAS:
        return True
    if char in "ำຳ" or "\U0001f3fb" <= char <= "\U0001f3ff":
        return True
    return _is_flag(char) and _is_flag(last) and len(cluster) == 1


def _is_flag(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def may_break(before: str, after: str) -> bool:
    """Tell whether a line may break between two clusters neither of which is a space."""
    last, first = before[-1], after[0]
    if forbids_break(before, after):
        return False
    if last in "-–—/" and first.isalpha() and len(before) == 1:
        return True
    return _is_ideographic(last) or _is_ideographic(first)


def forbids_break(before: str, after: str) -> bool:
    """Tell whether two clusters must stay on one line."""
    return after[0] in _NO_START or before[-1] in _NO_END


def pauses(text: str, locale: str) -> frozenset[int] | None:
    """Return the offsets at which a line of unspaced writing may best break, or None for writing with spaces."""
    if text.isascii():
        return None
    if any("\u0e01" <= char <= "\u0e5b" for char in text):
        return _segmented("th", text)
    if any("\u3041" <= char <= "\u30ff" for char in text):
        return _segmented("ja", text)
    if not any(_is_ideographic(char) for char in text):
        return None
    face = han_face(text, locale)
    return _segmented({"cjk-ja": "ja", "cjk-zh-hant": "zh-hant", "cjk-zh-hk": "zh-hant"}.get(face, "zh-hans"), text)


@lru_cache(maxsize=512)
def _segmented(language: str, text: str) -> frozenset[int]:
    return frozenset(accumulate(len(part) for part in _segmenter(language).parse(text)))


@lru_cache(maxsize=4)
def _segmenter(language: str) -> budoux.Parser:
    """Return the model of a language, read from its package once."""
    return {
        "ja": budoux.load_default_japanese_parser,
        "th": budoux.load_default_thai_parser,
        "zh-hans": budoux.load_default_simplified_chinese_parser,
        "zh-hant": budoux.load_default_traditional_chinese_parser,
    }[language]()


def load_segmenters() -> None:
    """Read all models now, so that no open does."""
    for language in ("ja", "th", "zh-hans", "zh-hant"):
        _segmenter(language)


def _is_ideographic(char: str) -> bool:
    """Han and kana, which break anywhere; Hangul is written with spaces and breaks there."""
    code = ord(char)
    return (
        0x2E80 <= code <= 0x312F
        or 0x3190 <= code <= 0x31FF
        or 0x3400 <= code <= 0x9FFF
        or code >= 0x20000
        or (0xF900 <= code <= 0xFAFF or 0xFF01 <= code <= 0xFF60)
    )


def first_direction(text: str) -> bool | None:
    """Return True if the first letter with a direction runs right to left, False if left to right, None without any."""
    for char in text:
        kind = unicodedata.bidirectional(char)
        if kind == "L":
            return False
        if kind in ("R", "AL"):
            return True
    return None


def levels(text: str, rtl: bool) -> list[int]:
    """Return the embedding level of every character: odd runs right to left. `rtl` is the paragraph's direction."""
    plain = text.isascii() or not any(unicodedata.bidirectional(char) in _RTL_KINDS for char in text)
    if plain and not rtl:
        return [0] * len(text)
    storage = bidi.get_empty_storage()
    storage["base_level"], storage["base_dir"] = (1, "R") if rtl else (0, "L")
    bidi.get_embedding_levels(text, storage)
    bidi.explicit_embed_and_overrides(storage)
    bidi.resolve_weak_types(storage)
    bidi.resolve_neutral_types(storage, False)
    bidi.resolve_implicit_levels(storage, False)
    # Joiners are removed by rule X9; each takes the level of what it follows.
    remaining = iter(storage["chars"])
    result: list[int] = []
    entry = next(remaining, None)
    for char in text:
        if entry is not None and entry["ch"] == char:
            result.append(int(entry["level"]))
            entry = next(remaining, None)
        else:
            result.append(result[-1] if result else int(rtl))
    return result


def visual_order(line_levels: list[int]) -> list[int]:
    """Return the indices of a line's parts from left to right (rule L2)."""
    order = list(range(len(line_levels)))
    for level in range(max(line_levels, default=0), 0, -1):
        start = 0
        while start < len(order):
            if line_levels[order[start]] < level:
                start += 1
                continue
            end = start
            while end < len(order) and line_levels[order[end]] >= level:
                end += 1
            order[start:end] = reversed(order[start:end])
            start = end
    return order


def han_face(text: str, locale: str) -> str:
    """Return the face for ideographs: by the script around them first, then by locale, else simplified Chinese."""
    if any("\u3041" <= char <= "\u30ff" for char in text):
        return "cjk-ja"
    if any("\uac00" <= char <= "\ud7a3" for char in text):
        return "cjk-ko"
    tag = locale.lower().replace("_", "-")
    if tag.startswith(("ja", "ko")):
        return f"cjk-{tag[:2]}"
    if tag.startswith("zh"):
        if "hk" in tag or "mo" in tag:
            return "cjk-zh-hk"
        if "hant" in tag or "tw" in tag:
            return "cjk-zh-hant"
    return "cjk-zh-hans"
