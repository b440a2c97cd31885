"""Identifiers shared by all floors."""

from __future__ import annotations

import msgspec

TEST_BIT = 1 << 31
"""Occurrence numbers of test sends carry this bit, so that they never meet those of real ones."""


class Delivery(msgspec.Struct, frozen=True, order=True, gc=False):
    """One message to one profile: the person, the campaign, and which run of it.

    profile is a positive 64-bit number, campaign a positive 31-bit one, occurrence an unsigned 32-bit one.
    """

    profile: int
    campaign: int
    occurrence: int

    @property
    def is_test(self) -> bool:
        """Whether this is a test send: decided live, counted nowhere."""
        return bool(self.occurrence & TEST_BIT)

    @property
    def name(self) -> str:
        """`campaign.occurrence`: what tells one profile's deliveries apart."""
        return f"{self.campaign}.{self.occurrence}"
