"""Definitions of intents as a shop keeps them: which evidence speaks for which intent (read by signals/intent.py)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Mapped, Session, mapped_column

from base.clock import monotonic
from base.db import Model
from base.errors import InvalidInput
from base.logs import logger
from signals.catalog import Categories, sensitive, slugs
from signals.intent import DEFAULTS, Intent, read_intents

HELD_SECONDS: Final = 10.0

_log = logger("signals")


class IntentDefinition(Model):
    """One intent: its name and, as JSON, its prior, evidence, threshold and margin. Without any row the shipped
    definitions hold (`signals.intent.DEFAULTS`); with rows, these alone."""

    __tablename__ = "intent"

    name: Mapped[str] = mapped_column(primary_key=True)
    definition: Mapped[dict[str, Any]]
    updated_at: Mapped[datetime]


class Definitions:
    """The intents in force, held for ten seconds and read anew as soon as a category is learnt that they may name.

    After a change of definitions `latebind rebuild` brings every state up to date; until then a state follows the
    definitions of its newest signal.
    """

    def __init__(self, categories: Categories) -> None:
        self._categories = categories
        self._held: tuple[float, int, tuple[Intent, ...]] = (0.0, -1, ())

    def current(self, session: Session) -> tuple[Intent, ...]:
        """The intents, their categories resolved, the sensitive ones left out."""
        until, known, intents = self._held
        if monotonic() < until and known == len(self._categories):
            return intents
        known = len(self._categories)
        stored = {row.name: row.definition for row in session.scalars(select(IntentDefinition))}
        private = sensitive(session)
        categories = {slug: number for slug, number in slugs(session).items() if number not in private}
        try:
            intents = read_intents(stored or DEFAULTS, categories)
        except InvalidInput as error:
            # Signals must still be taken; states then say nothing about intents.
            _log.error("bad intent definition", field=error.field, problem=error.message)
            intents = ()
        self._held = (monotonic() + HELD_SECONDS, known, intents)
        return intents
