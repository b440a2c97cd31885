"""Who somebody is, told by a shop's server to a web page in a form that only we can make and read.

An identity token names a person until a moment. It is minted by our API for a server that has signed the person in
itself, and handed to the page; a page cannot make one up, change one, or go on using one that has run out.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from base.errors import BadToken
from base.tokens import Purpose, Token, TokenKeys

MOST_MINUTES: Final = 1_440
"""Longest life of an identity token: a page left open overnight asks its server for a new one."""


def mint_identity(tokens: TokenKeys, profile: int, until: datetime) -> str:
    """The text that names a person in web pages until a moment. Its second stands where a mail has its run."""
    return tokens.mint(Token(Purpose.IDENTITY, profile, 0, int(until.timestamp())))


def read_identity(tokens: TokenKeys, text: str, now: datetime) -> int | None:
    """The person; None for a text that is forged, was minted for something else, or has run out."""
    try:
        token = tokens.read(text, Purpose.IDENTITY)
    except BadToken:
        return None
    return token.profile if now < datetime.fromtimestamp(token.occurrence, UTC) else None
