"""Categories: the words of shops (slugs) and the small numbers we keep in states, rules and plans."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Mapped, mapped_column

from base.db import Model


class Category(Model):
    """A product category. `sensitive`: its signals may suppress an offer but never choose or name visible content."""

    __tablename__ = "category"

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    department: Mapped[str | None]
    sensitive: Mapped[bool] = mapped_column(server_default=text("false"))
