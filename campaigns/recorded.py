"""Decision records as render wrote them, read back from the database: the public part and the sealed one together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace
from sqlalchemy.orm import Session

from base.logs import logger
from base.sealing import Unsealable
from campaigns.audit import PERSONAL_PURPOSE
from campaigns.subjects import SubjectKey, known_subjects
from render.record import DecisionFacts, DecisionRecord, read_personal

_NOTHING: Final = msgspec.to_builtins(DecisionFacts())


def records(session: Session, rows: Sequence[Any], wrapping_key: bytes) -> Iterator[tuple[Any, DecisionRecord]]:
    """Each row of `decision` with its record, in the rows' order.

    A row needs `id`, `profile_id`, `public` and `personal`. Left out are rows without a personal part, of people who
    were erased, and, with a log line, those that cannot be read and all of people whose key cannot.
    """
    wanted = {row.profile_id for row in rows if row.profile_id is not None and row.personal is not None}
    subjects = known_subjects(session, wanted, wrapping_key)
    for row in rows:
        subject = subjects.get(row.profile_id)
        if subject is None or row.personal is None:
            continue
        try:
            yield row, _record(row, subject)
        except (Unsealable, msgspec.MsgspecError) as error:
            logger(__name__).warning("a decision cannot be read", decision=row.id, reason=str(error)[:200])


def _record(row: Any, subject: SubjectKey) -> DecisionRecord:
    public = msgspec.json.decode(row.public)
    public.pop("subject", None)
    public |= {"profile": row.profile_id, "personal": _NOTHING}
    facts = read_personal(subject.sealer.open(row.personal, PERSONAL_PURPOSE))
    return replace(msgspec.convert(public, DecisionRecord), personal=facts)
