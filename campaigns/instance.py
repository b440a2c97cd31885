"""Whose database this is: a restored backup or a cloned server must not mail people a second time.

The installation that sends has a name of its own outside of the database: LATEBIND_INSTANCE, or a file under
`var/secrets` that is made on first use. The database keeps its hash, which database it was (server and number), and
which machine and folder; whatever differs blocks sending until a person takes over. A database that is set back in
place is known by a number that grows with every batch and is written to a file before the batch leaves, and by every
host each time it asks: then a file knows more than the database. A host without the file is one that a person must
confirm. Only a snapshot that sets back the machine whole is not seen; see docs/deploy.md.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from base import logs
from base.clock import monotonic
from base.errors import Conflict, SettingError
from base.secrets import secret
from base.settings import Settings
from campaigns import admin_log, transitions
from campaigns.admin_log import Actor
from campaigns.models import AdminEntry, Campaign, Instance

NAME_BYTES: Final = 16
MACHINE: Final = Path("/etc/machine-id")
TOLD_AGAIN: Final = 300.0
"""Seconds after which a process that is kept from its work says so again in the admin log."""
TOLD_LATELY: Final = timedelta(minutes=15)
STRIDE: Final = 2**32
"""What a take-over adds to the number of the newest batch, so that it is ahead of what any other host has noted; and to
the number of the newest profile, so that nobody gets one that the database has lost."""
STEP: Final = 2**16
"""What it adds to the numbers of the newest campaign and offer: those have 31 bits."""
_log = logs.logger(__name__)
_KIND: Final = "instance"
_BLOCK: Final = "block"
_ADVICE: Final = (
    "Nothing is sent from here, so that nobody gets a mail twice. If this installation is to send from now on, and no "
    "other does, run `latebind instance take-over`"
)
OTHER: Final = (
    f"This database belongs to another installation. {_ADVICE}; hosts that share the work need the same "
    "LATEBIND_INSTANCE."
)
COPY: Final = f"This database is a copy: it is not the one that this installation sent from. {_ADVICE}."
MOVED: Final = f"This installation was copied from another machine or folder, which may still send. {_ADVICE}."
SET_BACK: Final = f"This database was set back: mails have left that it does not know of. {_ADVICE}."
NEW_HOST: Final = (
    "This host has not worked with this database before: it may be a copy of one that still sends. If it is another of "
    "the hosts that share the work, run `latebind instance confirm` on it; if it is to send in their place, run "
    "`latebind instance take-over`."
)
TAKEN: Final = (
    "The installation was taken over from a copy or a backup: what left after that was made is not known here. Resume "
    "it if nobody gets a mail twice by that."
)


@dataclass(frozen=True)
class Here:
    """What this installation is outside of the database; `host` is "" where its name is set by hand."""

    identity: str
    host: str
    mark: Path

    @classmethod
    def of(cls, settings: Settings, machine: Path = MACHINE) -> Here:
        """This installation; its file is made on first use. Raises SettingError where it cannot be written."""
        mark = settings.var / "instance_mark"
        if settings.instance:
            return cls(_hashed(settings.instance), "", mark)
        try:
            name = secret(settings.var / "secrets", "instance", NAME_BYTES)
        except OSError as error:
            raise SettingError("LATEBIND_INSTANCE", f"must be set: {settings.var} cannot be written") from error
        number = machine.read_text().strip() if machine.exists() else ""
        return cls(_hashed(name), _hashed(f"{number} {settings.var}"), mark)

    def seen(self) -> int | None:
        """The number of the newest batch that is known to have been claimed; None where nothing is noted."""
        try:
            return int(self.mark.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def note(self, mark: int, *, anew: bool = False) -> None:
        """Write a batch's number down before the batch leaves, never a smaller one unless `anew`.

        A host that can keep no file is blocked once its database is in use.
        """
        try:
            self._write(mark, anew=anew)
        except OSError as error:
            _log.error("the newest batch cannot be noted", file=str(self.mark), error=error.strerror)

    def _write(self, mark: int, *, anew: bool) -> None:
        self.mark.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.mark, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            before = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            if anew or not before.isdecimal() or int(before) < mark:
                # Always of one length: a write that is cut short leaves no other number.
                os.pwrite(descriptor, f"{mark:020d}".encode(), 0)
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Guard:
    """Asks whether this installation may work with its database. For one process; `by` is the loop that asks.

    One that `claims` makes a database that nobody sent from this installation's.
    """

    def __init__(self, settings: Settings, by: str, *, claims: bool = True) -> None:
        self.here = Here.of(settings)
        self._by = Actor(by)
        self._claims = claims
        self._told_at = -TOLD_AGAIN

    def blocked(self, session: Session, now: datetime) -> str | None:
        """Why nothing may be sent; None where all is well.

        The caller commits, also when it is blocked: now and then the admin log is told, and that a database was set
        back is kept for all other hosts.
        """
        why = standing(session, self.here, claim_for=self._by if self._claims else None, now=now)
        if why is None:
            self.here.note(session.scalar(select(Instance.mark)) or 0)
        elif why == SET_BACK:
            session.execute(update(Instance).where(~Instance.set_back).values(set_back=True))
        if why is not None and monotonic() - self._told_at >= TOLD_AGAIN:
            self._told_at = monotonic()
            admin_log.record(session, self._by, _BLOCK, _KIND, socket.gethostname(), now, after={"why": why})
        return why


def standing(
    session: Session, here: Here, *, claim_for: Actor | None = None, now: datetime | None = None
) -> str | None:
    """Why this installation may not send from this database; None where it may, or nobody did yet.

    With `claim_for`, a database that nobody sent from becomes this installation's.
    """
    # The file first: what it knows the database knew by then.
    seen = here.seen()
    row = session.execute(_LOOK).one()
    if row.identity is None:
        if claim_for is None or now is None:
            return None
        values = {"id": 1, "identity": here.identity, "database_mark": row.database, "host_mark": here.host}
        ours = insert(Instance).values(values | {"since": now, "by": claim_for.name}).on_conflict_do_nothing()
        if session.execute(ours.returning(Instance.id)).first() is not None:
            here.note(0, anew=True)
            return None
        row = session.execute(_LOOK).one()
    if row.identity != here.identity:
        return OTHER
    if row.database_mark != row.database:
        return COPY
    if here.host and row.host_mark != here.host:
        return MOVED
    if row.set_back or row.mark < (seen or 0):
        return SET_BACK
    return NEW_HOST if seen is None and row.mark else None


def advance(session: Session) -> int:
    """The number of a batch, which `Here.note` writes down after the commit and before the batch leaves.

    Other batches wait for the commit, so ask for it last. Raises NoResultFound in a database that is nobody's.
    """
    return session.execute(update(Instance).values(mark=Instance.mark + 1).returning(Instance.mark)).scalar_one()


def told_lately(session: Session, now: datetime) -> str | None:
    """What a process that was kept from sending said in the last minutes; None when nobody was."""
    newest = session.scalars(
        select(AdminEntry).where(AdminEntry.object_type == _KIND).order_by(AdminEntry.id.desc()).limit(1)
    ).first()
    if newest is None or newest.action != _BLOCK or newest.at < now - TOLD_LATELY or newest.after is None:
        return None
    return str(newest.after["why"])


def take_over(
    session: Session, here: Here, now: datetime, by: Actor, *, keep_running: bool = False
) -> Sequence[Campaign]:
    """Make the database this installation's. Campaigns that are scheduled or sending are paused, unless `keep_running`.

    What a copy has lost is out in the world: mails name people and campaigns by numbers, the hot store counts by those
    of offers. So a good many are passed over, which nobody gets any more. Returns the campaigns that are paused. The
    caller commits.
    """
    row = session.execute(_LOOK).one()
    mark = max(row.mark or 0, here.seen() or 0) + STRIDE
    values = {"identity": here.identity, "database_mark": row.database, "host_mark": here.host, "since": now}
    changes = values | {"by": by.name, "mark": mark, "set_back": False}
    session.execute(
        insert(Instance).values({"id": 1} | changes).on_conflict_do_update(index_elements=["id"], set_=changes)
    )
    session.execute(_PASS_OVER, {"people": STRIDE, "others": STEP})
    here.note(mark, anew=True)
    admin_log.record(session, by, "take over", _KIND, socket.gethostname(), now, after={"keep_running": keep_running})
    if keep_running:
        return []
    running = select(Campaign).where(Campaign.state.in_(("scheduled", "sending"))).order_by(Campaign.id)
    paused = []
    for campaign in session.scalars(running).all():
        try:
            transitions.pause(session, campaign.id, now, by, trouble=TAKEN)
        except Conflict:
            continue
        paused.append(campaign)
    return paused


def confirm(session: Session, here: Here, now: datetime, by: Actor) -> None:
    """Make this host one of those that work with the database. The caller commits.

    Raises Conflict where it is one already, or where that is not what keeps it from its work.
    """
    why = standing(session, here)
    if why != NEW_HOST:
        raise Conflict(why or "This host works with this database already.")
    here.note(session.scalar(select(Instance.mark)) or 0)
    if here.seen() is None:
        raise Conflict(f"{here.mark} cannot be written.")
    admin_log.record(session, by, "confirm", _KIND, socket.gethostname(), now)


def _hashed(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


_PASS_OVER: Final = text("""
    SELECT setval('profile_id_seq', nextval('profile_id_seq') + :people),
           setval('campaign_id_seq', nextval('campaign_id_seq') + :others),
           setval('offer_id_seq', nextval('offer_id_seq') + :others)
""")
_LOOK: Final = text("""
    SELECT i.identity, i.database_mark, i.host_mark, i.mark, i.set_back,
        (SELECT system_identifier::text FROM pg_control_system())
        || '/' || (SELECT oid::text FROM pg_database WHERE datname = current_database()) AS database
    FROM (VALUES (1)) AS one(id) LEFT JOIN instance i ON i.id = one.id
""")
