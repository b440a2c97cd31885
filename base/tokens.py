"""Tokens in the URLs of a mail: opaque, authenticated, without look-up, valid as long as their key is kept.

A token is base64url(key id, 1 byte ‖ AES-SIV(23 bytes below, purpose as associated data)), 54 characters. All numbers
are big-endian: profile 8, campaign 4, occurrence 4, slot 1, size and format 2, second of the send 4. Size and format
are packed as format 2 bits | width/20 6 bits | height/10 8 bits. AES-SIV is deterministic: the same mail and slot give
the same URL, so the pictures of one mail are stable, and it needs no nonce (RFC 5297). The first release wrote the day
of the send, in 2 bytes, and its tokens of 51 characters are read as long as there are mails with them.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from base.errors import BadToken
from base.ids import Delivery
from base.settings import Settings

FORMATS = ("jpg", "png", "gif", "webp")
WHOLE_MAIL = 255
"""The slot of a token that means the mail itself: view, unsubscribe."""
ZERO = datetime(2020, 1, 1, tzinfo=UTC)
DAY_SECONDS = 86_400
MAX_WIDTH = 63 * 20
MAX_HEIGHT = 255 * 10
TOKEN_LENGTH = 54

_ZERO_MS = int(ZERO.timestamp()) * 1000
_NEUTRAL = 1 << 31
_BODY = struct.Struct(">QIIBHI")
_FIRST_LENGTH = 51
_FIRST_NEUTRAL = 1 << 15
_FIRST_BODY = struct.Struct(">QIIBHH")
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_TO_URL = bytes.maketrans(b"+/", b"-_")


class Purpose(Enum):
    """What a token is for; one for another purpose does not read."""

    PICTURE = "picture"
    PICTURE_DARK = "picture-dark"
    HTML = "html"
    VIEW = "view"
    AMP = "amp"
    CLICK = "click"
    UNSUBSCRIBE = "unsubscribe"
    PROFILE = "profile"
    """Names a person in calls of the API, where no mail does; never stands in a URL."""
    IDENTITY = "identity"
    """Names a person to a web page until a moment (render/identity.py); never stands in a URL."""
    SLOT = "slot"
    SLOT_DARK = "slot-dark"
    """A picture of a web page's slot, light or dark; `sent_s` is the day on which the page asked for it."""


NAMING = (Purpose.VIEW, Purpose.UNSUBSCRIBE)
"""Purposes whose tokens name the person also in a campaign that is not followed: nobody could leave it otherwise."""


class Token(msgspec.Struct, frozen=True, gc=False):
    """What a URL of a mail says. Width and height are the declared size in CSS pixels; a picture has twice as many.

    width is a multiple of 20 up to 1260, height a multiple of 10 up to 2550; both may be 0 when there is no picture.
    A web view has no picture: these two and the format hold its mail's `printed_mark` (render/mailpage.py) instead.
    sent_s counts seconds since 2020-01-01 (UTC) to when the mail was made, up to 2^31 - 1; midnight's may stand for the
    whole day. A text or push message has that of its run's freeze. neutral says that the mail is one of a content
    holdout: it shows the defaults whatever is known; its bit is the top one of the seconds' four bytes. Profile 0
    is nobody: the shared URLs of tracking level none.
    """

    purpose: Purpose
    profile: int
    campaign: int
    occurrence: int
    slot: int = WHOLE_MAIL
    width: int = 0
    height: int = 0
    fmt: str = "jpg"
    sent_s: int = 0
    neutral: bool = False

    @property
    def knows_second(self) -> bool:
        """Whether `sent_s` is a second and not only a day: that of midnight is taken for the day."""
        return self.sent_s % DAY_SECONDS != 0

    @property
    def sent_ms(self) -> int:
        """When the mail was made, in Unix ms: the beginning of its second, or of its day where no more is known."""
        return _ZERO_MS + self.sent_s * 1000

    @property
    def delivery(self) -> Delivery:
        """The delivery this token was minted for."""
        return Delivery(self.profile, self.campaign, self.occurrence)


class TokenKeys:
    """Mints with the current key and reads with all of them; 64-byte keys by id (0 to 255)."""

    def __init__(self, keys: Mapping[int, bytes], current: int) -> None:
        if current not in keys:
            raise ValueError("the current key is not among the keys")
        self._ciphers = {number: AESSIV(key) for number, key in keys.items()}
        self._current = current

    @classmethod
    def from_settings(cls, settings: Settings) -> TokenKeys:
        """The keys of LATEBIND_TOKEN_KEYS; the last one mints."""
        return cls(settings.token_keys, list(settings.token_keys)[-1])

    def mint(self, token: Token) -> str:
        """The token's text. Raises ValueError if a field does not fit its bytes."""
        body = _BODY.pack(
            _within(token.profile, 0, 2**63 - 1, "profile"),
            _within(token.campaign, 0, 2**31 - 1, "campaign"),
            _within(token.occurrence, 0, 2**32 - 1, "occurrence"),
            _within(token.slot, 0, 255, "slot"),
            pack_size(token.width, token.height, token.fmt),
            _within(token.sent_s, 0, _NEUTRAL - 1, "sent_s") | (_NEUTRAL if token.neutral else 0),
        )
        sealed = self._ciphers[self._current].encrypt(body, [token.purpose.value.encode()])
        raw = bytes([self._current]) + sealed
        return binascii.b2a_base64(raw, newline=False).translate(_TO_URL).rstrip(b"=").decode()

    def read(self, text: str, purpose: Purpose) -> Token:
        """What the token says. Raises BadToken for anything we did not mint for this purpose."""
        raw = _decode(text)
        cipher = self._ciphers.get(raw[0])
        if cipher is None:
            raise BadToken
        try:
            body = cipher.decrypt(raw[1:], [purpose.value.encode()])
        except InvalidTag:
            raise BadToken from None
        if len(body) == _BODY.size:
            profile, campaign, occurrence, slot, size, sent = _BODY.unpack(body)
            neutral, sent_s = bool(sent & _NEUTRAL), sent & ~_NEUTRAL
        else:
            profile, campaign, occurrence, slot, size, day = _FIRST_BODY.unpack(body)
            neutral, sent_s = bool(day & _FIRST_NEUTRAL), (day & ~_FIRST_NEUTRAL) * DAY_SECONDS
        width, height, fmt = unpack_size(size)
        return Token(purpose, profile, campaign, occurrence, slot, width, height, fmt, sent_s, neutral)


def pack_size(width: int, height: int, fmt: str) -> int:
    """Size and format in 16 bits. Raises ValueError for a size that is no multiple of the grid or too large."""
    if fmt not in FORMATS:
        raise ValueError(f"the format must be one of {', '.join(FORMATS)}")
    if width % 20 or height % 10:
        raise ValueError("the width must be a multiple of 20 and the height of 10")
    return (
        FORMATS.index(fmt) << 14
        | _within(width, 0, MAX_WIDTH, "width") // 20 << 8
        | _within(height, 0, MAX_HEIGHT, "height") // 10
    )


def unpack_size(packed: int) -> tuple[int, int, str]:
    """Width, height and format of a packed size."""
    return (packed >> 8 & 63) * 20, (packed & 255) * 10, FORMATS[packed >> 14]


def second_number(moment: datetime) -> int:
    """Whole seconds from 2020-01-01 (UTC) to the moment."""
    return (moment - ZERO) // timedelta(seconds=1)


def day_of(number: int) -> int:
    """The first second of the UTC day that a numbered second is in."""
    return number - number % DAY_SECONDS


def _decode(text: str) -> bytes:
    """The 40 bytes of a token's text, 38 of a first one's; only the one canonical spelling is accepted."""
    if len(text) not in (TOKEN_LENGTH, _FIRST_LENGTH) or not text.isascii() or "+" in text or "/" in text:
        raise BadToken
    standard = text.encode().translate(_TO_STANDARD) + b"=" * (-len(text) % 4)
    try:
        raw = binascii.a2b_base64(standard, strict_mode=True)
    except binascii.Error:
        raise BadToken from None
    if binascii.b2a_base64(raw, newline=False) != standard:
        raise BadToken
    return raw


def _within(value: int, low: int, high: int, name: str) -> int:
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low} to {high}")
    return value
