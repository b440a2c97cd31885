"""The addresses that a delivery's mail has, made again at an open: tokens are the same whenever they are minted."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from base.tokens import NAMING, WHOLE_MAIL, Purpose, Token, day_of
from render.fetch import Fetch
from render.parts import Parts
from render.plan import Plan, Slot

PATHS: Final = {
    Purpose.PICTURE: "/o/",
    Purpose.PICTURE_DARK: "/o/",
    Purpose.CLICK: "/c/",
    Purpose.VIEW: "/view/",
    Purpose.UNSUBSCRIBE: "/u/",
}


def address(parts: Parts, fetch: Fetch, plan: Plan, purpose: Purpose, slot: Slot | None = None) -> str:
    """One address of the mail, without a host; of the whole mail where no slot is given.

    In a campaign that is not followed it is everybody's of the run and day, but for those that must name the person.
    """
    token = fetch.token
    if plan.tracking == "none" and purpose not in NAMING:
        token = replace(token, profile=0, sent_s=day_of(token.sent_s), neutral=False)
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
