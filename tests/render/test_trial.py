"""Models on trial at the open: which deliveries they decide, and what decides while a model cannot be loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from base.blobs import FolderBlobs
from base.ids import Delivery
from render.lookup import Lookup, Running
from render.metrics import Metrics
from render.plan import Canary, Live, decode_live, encode_live
from render.shelf import ModelShelf, RelationsShelf
from render.trial import draw, models_of, takes_part
from signals.candidates import MODEL_FEATURES
from tests.render.shoe_shop import model_bytes

LIVE, TRIAL = "a" * 64, "b" * 64
MAILS = [Delivery(profile, 7, occurrence) for profile in range(1, 2001) for occurrence in (1, 2)]


def test_it_draws_the_wanted_share_of_deliveries_and_always_the_same() -> None:
    for share in (0.05, 0.5):
        drawn = [mail for mail in MAILS if takes_part(Canary(TRIAL, share), mail)]
        assert abs(len(drawn) / len(MAILS) - share) < 0.03
        assert drawn == [mail for mail in MAILS if takes_part(Canary(TRIAL, share), mail)]
    few, many = ({mail for mail in MAILS if takes_part(Canary(TRIAL, share), mail)} for share in (0.1, 0.3))
    assert few < many, "a larger share keeps what a smaller one had"
    both = [mail for mail in few if takes_part(Canary("c" * 64, 0.1), mail)]
    assert len(both) < len(few) / 4, "another model draws anew"
    assert 0 <= min(draw(TRIAL, mail) for mail in MAILS) < max(draw(TRIAL, mail) for mail in MAILS) < 1


def test_it_names_the_models_that_may_decide_in_their_order() -> None:
    mail = next(mail for mail in MAILS if takes_part(Canary(TRIAL, 0.5), mail))
    other = next(mail for mail in MAILS if not takes_part(Canary(TRIAL, 0.5), mail))
    live = Live(model=LIVE, canary=Canary(TRIAL, 0.5))
    assert (models_of(live, mail), models_of(live, other)) == ((TRIAL, LIVE), (LIVE,))
    against_rules = Live(canary=Canary(TRIAL, 0.5))
    assert (models_of(against_rules, mail), models_of(against_rules, other)) == ((TRIAL,), ())
    assert decode_live(encode_live(live)) == live
    assert encode_live(Live(model=LIVE)) == encode_live(Live(model=LIVE, canary=None)), "no key changes for others"


@pytest.fixture
def shelf(tmp_path: Path) -> ModelShelf:
    """A shelf over an empty store; what it is asked for is loaded when the test says so."""
    return ModelShelf(FolderBlobs(tmp_path), MODEL_FEATURES)


def running(live: Live, before: str | None = None) -> Running:
    return Running(7, live, None, "", {}, {}, {}, (), 0.0, before)


def test_it_keeps_the_model_before_while_the_live_one_cannot_be_loaded(shelf: ModelShelf, tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    first = blobs.put(model_bytes())
    damaged = blobs.put(b"no model at all")
    relations = RelationsShelf(blobs)
    lookup = Lookup(None, shelf, relations, Metrics(tmp_path / "metrics"))  # type: ignore[arg-type]  # nothing is read
    assert lookup.model(running(Live(model=first)), MAILS[0]) is None, "an open does not wait for a model"
    assert shelf.load(first)
    assert not shelf.load(damaged)
    held = lookup.model(running(Live(model=first)), MAILS[0])
    assert held is not None
    assert held.hash == first
    assert lookup.model(running(Live(model=damaged), before=first), MAILS[0]) is held
    assert lookup.model(running(Live(model=damaged)), MAILS[0]) is None, "this process never knew another"
    assert lookup.model(running(Live(), before=first), MAILS[0]) is None, "the rules were asked for"
    canary = Live(model=first, canary=Canary(damaged, 1.0))
    assert lookup.model(running(canary), MAILS[0]) is held, "one on trial that is damaged leaves its mails alone"


def test_it_loads_no_artefact_under_another_name(tmp_path: Path) -> None:
    class Swapped:
        def get(self, digest: str) -> bytes:
            return model_bytes()

    assert not ModelShelf(Swapped(), MODEL_FEATURES).load(TRIAL)
