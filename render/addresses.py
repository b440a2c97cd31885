"""The addresses that a delivery's mail has, made again at an open: tokens are the same whenever they are minted."""

from __future__ import annotations

from typing import Final

from base.tokens import WHOLE_MAIL, Purpose, Token
from render.fetch import Fetch
from render.parts import Parts
from render.plan import Slot

PATHS: Final = {
    Purpose.PICTURE: "/o/",
    Purpose.PICTURE_DARK: "/o/",
    Purpose.CLICK: "/c/",
    Purpose.VIEW: "/view/",
    Purpose.UNSUBSCRIBE: "/u/",
}


def address(parts: Parts, fetch: Fetch, purpose: Purpose, slot: Slot | None = None) -> str:
    """One address of the mail, without a host; of the whole mail where no slot is given."""
    token = fetch.token
    # A web view's token says in place of a size what its mail printed; its page names it again.
    sized = slot if slot is not None else token if purpose is token.purpose is Purpose.VIEW else None
    made = Token(
        purpose, token.profile, token.campaign, token.occurrence,
        slot.index if slot is not None else WHOLE_MAIL,
        sized.width if sized is not None else 0,
        sized.height if sized is not None else 0,
        sized.fmt if sized is not None else "jpg",
        token.sent_s, token.neutral,
    )  # fmt: skip
    extension = f".{slot.fmt}" if slot is not None and PATHS[purpose] == "/o/" else ""
    return f"{PATHS[purpose]}{parts.tokens.mint(made)}{extension}"
