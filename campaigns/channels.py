"""The ways in which a message reaches a person: by which identifier each addresses them, and what it asks of consent.

Mail goes to whoever has not refused it, unless a campaign asks for more. A text or push message goes to nobody who has
not agreed to that very channel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

from base.errors import InvalidInput
from signals.identity import IdentifierType

Channel = Literal["email", "sms", "push"]
EMAIL: Final = "email"
PUSH: Final = "push"
IDENTIFIERS: Final[Mapping[str, IdentifierType]] = {"email": "email", "sms": "phone", "push": "user_id"}
"""Channel -> the identifier it addresses people by. Push providers know a person's devices under the shop's own id."""
CHANNELS: Final = tuple(IDENTIFIERS)
IDENTIFIER_SQL: Final = (
    "CASE d.channel "
    + " ".join(f"WHEN '{channel}' THEN '{kind}'" for channel, kind in IDENTIFIERS.items() if channel != EMAIL)
    + f" ELSE '{IDENTIFIERS[EMAIL]}' END"
)
"""The type of identifier that a row `d` of the ledger is addressed by."""
MAX_USER_ID: Final = 254
_NUMBER: Final = re.compile(r"\+[1-9][0-9]{6,14}")


def check_address(channel: str, address: str) -> str:
    """The address as a gateway is told it. Raises InvalidInput for one that no gateway of the channel can reach.

    A number without its country (E.164 begins with +) could be anybody's.
    """
    if channel == "sms" and not _NUMBER.fullmatch(address):
        raise InvalidInput("address", "is no phone number with its country, such as +4930123456")
    if channel == "push" and not 0 < len(address) <= MAX_USER_ID:
        raise InvalidInput("address", f"must be a user id of 1 to {MAX_USER_ID} characters")
    return address
