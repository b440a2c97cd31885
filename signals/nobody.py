"""What systems send for nobody: words and templates in the place of an identifier, ids of zeros, numbers nobody has.

Taken at their word, all who come under one were one person. Chosen so that a real number stays possible: "0", "1",
"none-123" and whatever else holds more than such a word.
"""

from __future__ import annotations

import re
import string
import unicodedata
from typing import Final

_WORDS: Final = frozenset({
    "undefined", "null", "none", "nil", "nan", "n/a", "n.a", "\\n", "not set", "not_set", "not available",
    "object object", "true", "false", "unknown", "anonymous", "guest",
})  # fmt: skip
_PUT_AROUND: Final = string.punctuation + string.whitespace
_AROUND: Final = frozenset({"Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Zs", "Zl", "Zp", "Cc", "Cf"})
"""Kinds of characters that may stand around a word as well: dashes, quotation marks and spaces of other keyboards."""
_ZEROS: Final = re.compile(r"[\s\-_:.{}]*(?:0[\s\-_:.{}]*){6,}")
"""Six zeros and more, as of an empty UUID or the id of a device that gives none."""
_TEMPLATE: Final = re.compile(r"\{\{.*\}\}|\{%.*%\}|<%.*%>|\*\|.*\|\*|[$#]\{.*\}|%%.+%%", re.DOTALL)
"""A place that was to be filled, as shops, mail programs and languages of templates write it, anywhere in a value."""
_PLACE: Final = re.compile(r"%[a-z_.]+%|\{[a-z_.]+\}|\[[a-z_.]+\]|<[a-z_.]+>", re.IGNORECASE)
"""One that could stand within an id, so it is none where there is more."""
_PHONE: Final = re.compile(r"\+?([0-9])\1*|(?:\+|00)[1-9][0-9]{0,2}0{8,}")
"""One digit over and over, with zeros also behind the code of a country."""
_LONGEST: Final = 512
"""Characters of what is looked at: more than any identifier may have (signals/identity.py)."""
_NO_DIGIT: Final = re.compile(r"[^0-9+]")


def names_nobody(kind: str, value: str) -> bool:
    """Whether a value of this kind (signals/identity.py) is one that is sent for nobody."""
    if len(value) > _LONGEST:
        return False
    if kind == "phone" and _PHONE.fullmatch(_NO_DIGIT.sub("", value)):
        return True
    bare = _bare(value).lower()
    if not bare or bare in _WORDS or value.strip().lower() in _WORDS:
        return True
    return bool(_ZEROS.fullmatch(value) or _PLACE.fullmatch(value) or _TEMPLATE.search(value))


def _bare(value: str) -> str:
    """A value without what is put around words."""
    begin, end = 0, len(value)
    while begin < end and _is_around(value[begin]):
        begin += 1
    while end > begin and _is_around(value[end - 1]):
        end -= 1
    return value[begin:end]


def _is_around(one: str) -> bool:
    return one in _PUT_AROUND or (not one.isascii() and unicodedata.category(one) in _AROUND)
