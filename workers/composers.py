"""What builds the mails and messages of the plans that a sender meets, kept for its next batches."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime
from typing import Final

from msgspec import UNSET

from base.blobs import FolderBlobs
from base.db import Sessions, transaction
from base.returnpath import ReturnPaths
from base.settings import Settings
from base.tokens import TokenKeys, second_number
from campaigns import links, plans
from campaigns.compose import Composer
from campaigns.deliveries import Claimed
from campaigns.dkimkeys import Keyring
from campaigns.textcompose import TextComposer
from render.mailpage import printed_mark
from render.plan import Plan
from workers.handover import Ready

MAX_COMPOSERS: Final = 32
Kept = tuple[Plan, Composer, TextComposer | None]
"""A plan, what builds its mails and pages, and what builds its messages where a gateway gets those instead."""


class Composers:
    """For one thread. `signing` holds the keys that mails are signed with."""

    def __init__(self, settings: Settings, sessions: Sessions, blobs: FolderBlobs, signing: Keyring) -> None:
        self._settings = settings
        self._sessions = sessions
        self._blobs = blobs
        self._signing = signing
        self._tokens = TokenKeys.from_settings(settings)
        self._paths = ReturnPaths.from_settings(settings)
        self.kept: OrderedDict[str, Kept] = OrderedDict()

    def of(self, digest: str) -> Kept:
        """What a plan's mails are built with. Raises NotFound when the plan or its mail is gone."""
        if digest in self.kept:
            self.kept.move_to_end(digest)
            return self.kept[digest]
        with transaction(self._sessions) as session:
            row = plans.plan(session, digest)
        plan, mail = plans.load(self._blobs, digest), plans.load_mail(self._blobs, row)
        key = self._settings.hash_key
        texts = None if mail.message is UNSET else TextComposer(mail.message, mail.campaign, mail.brand, key)
        self.kept[digest] = plan, Composer(mail, key), texts
        while len(self.kept) > MAX_COMPOSERS:
            self.kept.popitem(last=False)
        return self.kept[digest]

    def plan(self, digest: str) -> Plan:
        """The plan alone."""
        return self.of(digest)[0]

    def build(self, row: Claimed, now: datetime, facts_hash: bytes | None) -> Ready:
        """The mail or message of a claimed row. Raises InvalidInput when there can be none for this person."""
        plan, composer, texts = self.of(row.plan_hash)
        base = self._settings.render_base(composer.mail.brand)
        # A gateway may hold each attempt against the first by its key, so the links of a message do not change.
        made_at = now if texts is None else row.created_at
        urls = links.mint(
            self._tokens, base, row.key, composer.mail.slots, second_number(made_at),
            neutral=row.holdout == "content" and plan.tracking != "none", html=False, amp=bool(composer.mail.amp),
            printed=printed_mark(plan.view_html, row.traits), tracked=plan.tracking != "none",
        )  # fmt: skip
        if texts is not None:
            return Ready(
                row, texts.build(row.key, row.address, row.traits, urls), "", "", facts_hash, texts.text.gateway
            )
        mail = composer.build(row.key, row.address, row.traits, urls, now, self._signing.of(composer.domain))
        return Ready(row, mail, self._paths.mint(row.key) or composer.mail.from_address, composer.domain, facts_hash)
