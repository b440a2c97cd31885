"""Signals that have their arrival numbers and are still to be committed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import pytest
from sqlalchemy.orm import Session

from signals import journal


@contextmanager
def uncommitted(send: Callable[[], object]) -> Iterator[None]:
    """What `send` sends has its numbers when the block begins, and is committed when it ends."""
    numbered, commits = Event(), Event()
    append = journal.append
    with pytest.MonkeyPatch.context() as patch:

        def slowly(session: Session, *given: Any) -> None:
            patch.setattr(journal, "append", append)
            numbered.set()
            assert commits.wait(30)
            append(session, *given)

        patch.setattr(journal, "append", slowly)
        sender = Thread(target=send)
        sender.start()
        try:
            assert numbered.wait(30)
            yield
        finally:
            commits.set()
            sender.join(30)
