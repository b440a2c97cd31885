"""What signs mails: DKIM keys, their private halves sealed."""

from datetime import datetime

from sqlalchemy import DateTime, Identity, Index, LargeBinary, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from base.db import Model


class DkimKey(Model):
    """A key that signs mails of a domain. Of each algorithm, one key a domain is active.

    made: not signed with yet. active: signed with. kept: not any more, but mails on their way still name it. retired.
    """

    __tablename__ = "dkim_key"
    __table_args__ = (
        Index("dkim_key_name", "domain", "selector", unique=True),
        Index("dkim_key_active", "domain", "algorithm", unique=True, postgresql_where=text("state = 'active'")),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    domain: Mapped[str] = mapped_column(Text)  # in lower case, international ones as A-labels
    selector: Mapped[str] = mapped_column(Text)
    algorithm: Mapped[str] = mapped_column(Text)  # rsa | ed25519
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)  # the private half; gone once the key is retired
    public: Mapped[str] = mapped_column(Text)  # the `p=` of its DNS record
    state: Mapped[str] = mapped_column(Text, server_default="made")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    activated_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    replaced_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    retired_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
