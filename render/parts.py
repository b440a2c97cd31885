"""Everything a render process works with, built once and passed down."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from base.clock import Clock
from base.settings import Settings
from base.tokens import TokenKeys
from render.access import Keyring
from render.agree import Agreement
from render.commit import Recorder
from render.fallback import Ladder
from render.lookup import Lookup
from render.metrics import Metrics
from render.opening import Opening
from render.origin import Origins
from render.pictures import Pictures
from render.pressure import Pressure
from render.rates import Rates
from render.shelf import ModelShelf, RelationsShelf
from render.spool import Spool
from render.warmer import Warmer
from render.wire import Hot


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one process. `close` ends their background work."""

    settings: Settings
    clock: Clock
    tokens: TokenKeys
    hot: Hot
    keyring: Keyring
    origins: Origins
    lookup: Lookup
    agreement: Agreement
    opening: Opening
    recorder: Recorder
    spool: Spool
    pictures: Pictures
    ladder: Ladder
    models: ModelShelf
    relations: RelationsShelf
    warmer: Warmer
    rates: Rates
    metrics: Metrics
    pressure: Pressure
    deadline_seconds: float

    def now(self) -> datetime:
        """The moment of a request, read once."""
        return self.clock.now()

    def close(self) -> None:
        """Stop the background threads; what they held is kept."""
        self.warmer.stop()
        self.models.stop()
        self.relations.stop()
        self.recorder.stop()
        self.pictures.close()
        self.hot.close()
        self.metrics.close()
