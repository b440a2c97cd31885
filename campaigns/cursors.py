"""How far the loops have come that follow a growing table."""

from sqlalchemy import BigInteger, Text
from sqlalchemy.orm import Mapped, mapped_column

from base.db import Model


class LoopCursor(Model):
    """One loop's place: the arrival number, or moment in Unix milliseconds, up to which it has done its work."""

    __tablename__ = "loop_cursor"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger)
