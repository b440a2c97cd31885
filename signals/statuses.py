"""What an enhanced status code (RFC 3463) says of an address: whether no mail will ever get there.

Only codes decide, never words. A code that speaks of the mail, of us, of a policy or of the way there says nothing
final of the address: such a bounce is soft, and counted.
"""

from __future__ import annotations

import re
from typing import Final

DEAD: Final = frozenset({"5.1.1", "5.1.6", "5.1.10", "5.2.1"})
"""The mailbox does not exist, has moved, its domain takes no mail (RFC 7505), or it is disabled."""
GONE: Final = DEAD | {"5.1.2", "5.1.3", "5.7.17", "5.7.18"}
"""In a report after the mail was taken also: a domain that does not exist, an address that is none, and a mailbox or
domain that has changed hands (RFC 7293). A relay that says them at once may mean its own trouble."""
_CODE: Final = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.])")


def code_in(*texts: str | None) -> str | None:
    """The first enhanced code of these texts that says more than its class; else the first one; None without any."""
    found = [match for text in texts if text for match in _CODE.findall(text[:2_000])]
    return next((code for code in found if not code.endswith(".0.0")), found[0] if found else None)


def is_gone(code: str | None) -> bool:
    """Whether a report with this code says that the address is gone for good."""
    return code in GONE
