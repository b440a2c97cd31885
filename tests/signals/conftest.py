"""The intake desk every test of signals works at."""

from __future__ import annotations

import pytest

from base.db import Sessions
from base.stores import Store
from tests.signals.sending import Desk


@pytest.fixture
def desk(sessions: Sessions, valkey: Store) -> Desk:
    """An intake on the test's own database and key space."""
    return Desk(sessions, valkey)
