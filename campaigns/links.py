"""The addresses in one mail: every URL is unique by recipient, send and block, and tells nothing to who reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from base.ids import Delivery
from base.tokens import NAMING, WHOLE_MAIL, Purpose, Token, TokenKeys, day_of, unpack_size


class Place(Protocol):
    """What a URL needs to know of a slot: its number, its declared size in CSS pixels and its format."""

    @property
    def index(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def fmt(self) -> str: ...


@dataclass(frozen=True, slots=True)
class SlotUrls:
    """The addresses of one slot: light and dark picture (one decision), the block as HTML, where a click goes.

    `amp` is that of the answer an AMP mail asks for; empty in mails without AMP.
    """

    picture: str
    dark: str
    html: str
    click: str
    amp: str = ""


@dataclass(frozen=True, slots=True)
class MailUrls:
    """All addresses of one mail. `trap` is the link that no reader sees: whoever follows it follows every link."""

    slots: Mapping[int, SlotUrls]
    view: str
    unsubscribe: str
    trap: str = ""


def mint(
    keys: TokenKeys,
    base_url: str,
    delivery: Delivery,
    slots: Sequence[Place],
    sent_s: int,
    *,
    neutral: bool = False,
    html: bool = True,
    amp: bool = False,
    printed: int = 0,
    tracked: bool = True,
) -> MailUrls:
    """The addresses of a delivery's mail; the same delivery and second give the same ones again.

    `neutral` marks a mail of the content holdout; without `html` the blocks' HTML addresses stay empty, without `amp`
    those of an AMP mail. `base_url` is the render app's public address, without a last slash. `printed` is the mark of
    the fields that the mail prints (`mailpage.printed_mark`), without which its web view prints the fallbacks. A mail
    that is not `tracked` shares its addresses with everybody's of that run and day; only its page and its
    unsubscription name the person, who could not leave otherwise. `sent_s` is the second it is made in.
    """

    def token(purpose: Purpose, slot: Place | None = None, mark: int = 0) -> str:
        width, height, fmt = (slot.width, slot.height, slot.fmt) if slot is not None else unpack_size(mark)
        return keys.mint(
            Token(
                purpose=purpose,
                profile=delivery.profile if tracked or purpose in NAMING else 0,
                campaign=delivery.campaign,
                occurrence=delivery.occurrence,
                slot=WHOLE_MAIL if slot is None else slot.index,
                width=width,
                height=height,
                fmt=fmt,
                sent_s=sent_s if tracked or purpose in NAMING else day_of(sent_s),
                neutral=neutral,
            )
        )

    return MailUrls(
        slots={
            slot.index: SlotUrls(
                picture=f"{base_url}/o/{token(Purpose.PICTURE, slot)}.{slot.fmt}",
                dark=f"{base_url}/o/{token(Purpose.PICTURE_DARK, slot)}.{slot.fmt}",
                html=f"{base_url}/h/{token(Purpose.HTML, slot)}" if html else "",
                click=f"{base_url}/c/{token(Purpose.CLICK, slot)}",
                amp=f"{base_url}/amp/{token(Purpose.AMP, slot)}" if amp else "",
            )
            for slot in slots
        },
        view=f"{base_url}/view/{token(Purpose.VIEW, mark=printed)}",
        unsubscribe=f"{base_url}/u/{token(Purpose.UNSUBSCRIBE)}",
        trap=f"{base_url}/c/{token(Purpose.CLICK)}",
    )
