"""The demo as `make demo ONCE=1` runs it, on a part of the retail year: twice, in one folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

from base import db
from base.embedded import PostgresServer
from base.processes import free_port
from base.secrets import PASSWORD_BYTES, secret
from base.settings import Settings
from campaigns.instance import Here, standing
from campaigns.models import Instance
from tests.serving import ROOT
from workers.demo.journey import package_folder

pytestmark = pytest.mark.slow

PORTS = ("WEB", "RENDER", "SIGNALS", "SMTP", "INBOX", "POSTGRES", "VALKEY")
EVERY = 6
"""One household in so many."""
SECONDS = 900


@dataclass(frozen=True)
class Told:
    """What a run printed and how it ended."""

    status: int
    output: str

    def held(self, claim: str) -> bool:
        return any(line.split("  ✓ ", 1)[-1].startswith(claim) for line in self.output.splitlines() if "✓" in line)


@dataclass(frozen=True)
class Runs:
    """The first run on a clean folder, and the one after it."""

    var: Path
    first: Told
    second: Told


@pytest.fixture(scope="module")
def runs(server_folder: Path) -> Runs:
    folder = server_folder / "demo"
    data, var = folder / "data", folder / "var"
    data.mkdir(parents=True)
    _part_of_the_data(data)
    environ = os.environ | {f"LATEBIND_{name}_PORT": str(free_port()) for name in PORTS}
    environ |= {"LATEBIND_VAR": str(var), "LATEBIND_RENDER_WORKERS": "1", "LATEBIND_DEADLINE_MS": "1000"}
    return Runs(var, _run(environ, data), _run(environ, data))


def _part_of_the_data(folder: Path) -> None:
    package = package_folder()
    for name in ("transactions", "demographics", "products"):
        table = pq.read_table(str(package / f"{name}.parquet"))
        if "household_id" in table.column_names:
            number = table["household_id"]
            rest = pc.subtract(number, pc.multiply(pc.divide(number, EVERY), EVERY))
            table = table.filter(pc.equal(rest, 1))
        pq.write_table(table, str(folder / f"{name}.parquet"))


def _run(environ: dict[str, str], data: Path) -> Told:
    program = [str(Path(sys.executable).parent / "latebind"), "demo", "--once", "--data", str(data)]
    done = subprocess.run(
        program, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS, check=False
    )
    return Told(done.returncode, done.stdout.decode())


@pytest.mark.feature("OP-01")
def test_it_brings_everything_up_and_tells_its_story_on_a_clean_folder(runs: Runs) -> None:
    assert runs.first.status == 0, runs.first.output[-4000:]
    assert "NOT SO" not in runs.first.output
    assert "rows/s" in runs.first.output, "loading is told with its speed"
    for name in ("before.png", "after.png"):
        with Image.open(runs.var / "demo" / name) as picture:
            assert (picture.format, picture.size) == ("PNG", (1200, 600))


def test_it_tells_the_story_again_on_what_was_loaded_and_learnt(runs: Runs) -> None:
    assert runs.second.status == 0, runs.second.output[-4000:]
    assert "were loaded by an earlier run" in runs.second.output
    assert "was trained by an earlier run" in runs.second.output
    assert "put back as they stood" in runs.second.output
    assert "rows/s" not in runs.second.output


def test_it_leaves_a_system_that_goes_on_without_the_story(runs: Runs) -> None:
    password = secret(runs.var / "secrets", "postgres_password", PASSWORD_BYTES)
    server = PostgresServer(runs.var / "postgres", free_port(), runs.var / "log" / "after.log", password=password)
    server.start()
    try:
        engine = db.connect(server.url)
        with db.transaction(db.sessions(engine)) as session:
            assert session.get_one(Instance, 1).by == "schedule"
            assert standing(session, Here.of(Settings.from_environment({"LATEBIND_VAR": str(runs.var)}))) is None
        engine.dispose()
    finally:
        server.stop()


@pytest.mark.feature("CM-28")
def test_it_plays_the_running_shoes_literally(runs: Runs) -> None:
    for moment in (
        "running shoes: an hour after the mail, Ana sees discount and Ben the discount",
        "running shoes: right after she bought them, Ana sees thank-you and Ben the discount",
        "running shoes: a day later, Ana sees attire and Ben the discount",
        "running shoes: when she has returned them, Ana sees discount and Ben the discount",
    ):
        assert runs.first.held(moment)
        assert runs.second.held(moment)


@pytest.mark.feature("DE-13")
def test_it_stays_silent_on_a_gate_alone_and_speaks_once_the_evidence_is_clear(runs: Runs) -> None:
    assert runs.first.held("baby gate: a gate alone stays neutral")
    assert runs.first.held("baby gate: puppy food speaks for a puppy, diapers for a baby, nothing for the others")


@pytest.mark.feature("DE-17", "CM-70")
def test_it_recomputes_features_and_the_swapped_share_from_what_is_stored(runs: Runs) -> None:
    for claim in (
        "features recomputed from the signals are the logged ones, bit for bit",
        "send-time choices made again from the sender's facts are the stored ones",
        "the share of swapped opens is what the raw rows say",
        "recorded opens replay to the same decision",
    ):
        assert runs.first.held(claim)
        assert runs.second.held(claim)


@pytest.mark.feature("DE-18")
def test_it_holds_logged_probabilities_against_outcomes_for_every_offer(runs: Runs) -> None:
    for told in (runs.first, runs.second):
        assert told.held("what was said at opens came true as often as it was said")
        header = next(line for line in told.output.splitlines() if line.endswith(f"{'said':>7}{'bought':>8}"))
        assert header.split()[-5:] == ["opens", "Brier", "ECE", "said", "bought"]
        rows = [
            line.rsplit(maxsplit=5) for line in told.output.splitlines() if re.search(r" (Restock|Step up:) ", line)
        ]
        offers = [row for row in rows if len(row) == 6 and row[1].isdigit()]
        assert len(offers) >= 12
        for _, opens, brier, ece, said, bought in offers:
            assert int(opens) > 0
            assert all(0 <= float(figure) <= 1 for figure in (brier, ece, said, bought))
        assert any("→" in line for line in told.output.splitlines()), "the reliability curve is told"
