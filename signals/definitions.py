"""Definitions of intents as a shop keeps them: which evidence speaks for which intent (read by signals/intent.py)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from base.db import Model


class IntentDefinition(Model):
    """One intent: its name and, as JSON, its prior, evidence, threshold and margin."""

    __tablename__ = "intent"

    name: Mapped[str] = mapped_column(primary_key=True)
    definition: Mapped[dict[str, Any]]
    updated_at: Mapped[datetime]
