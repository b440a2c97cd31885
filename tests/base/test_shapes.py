from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from base.environment import environment
from base.settings import Settings
from tests.serving import outer_environment

ROOT = Path(__file__).resolve().parents[2]
LOOKED = """
import sys

import msgspec

from base.shapes import shapes

def looked_into(kind):
    calls = []
    sys.setprofile(lambda frame, event, arg: calls.append(frame.f_code.co_name) if event == "call" else None)
    try:
        msgspec.convert({}, kind)
    except msgspec.ValidationError:
        pass
    except (TypeError, NameError):
        return False
    finally:
        sys.setprofile(None)
    return any(name in ("get_class_annotations", "get_dataclass_info") for name in calls)
"""
APPS = "from {0}.app import from_environment; app = from_environment()"


def read_late(start: str, settings: Settings) -> set[str]:
    """Types of ours that msgspec looks into only when something is read as them, in a process started so."""
    code = f"{LOOKED}\n{start}\n"
    code += "print('late:', *(f'{kind.__module__}.{kind.__name__}' for kind in list(shapes()) if looked_into(kind)))\n"
    code += "sys.stdout.flush(); import os; os._exit(0)"  # What an app has running in threads does not matter here.
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=outer_environment() | environment(settings),
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    head, *late = done.stdout.split()
    assert head == "late:"
    return set(late)


@pytest.mark.parametrize(
    "start", [*map(APPS.format, ("render", "signals", "campaigns")), "from workers.cli import latebind as made; "
              "made.get_command(None, 'bounces')"],
    ids=["render", "signals", "pages", "command"],
)  # fmt: skip
def test_a_process_has_looked_into_every_type_before_it_has_threads(start: str, settings: Settings) -> None:
    assert read_late(start, settings) == set()


def test_it_would_be_seen_if_it_had_not(settings: Settings) -> None:
    late = read_late("import signals.app, campaigns.goals", settings)
    assert {"signals.trackingplan.Definition", "campaigns.goals.Counted"} <= late
    assert "signals.state.ProfileState" not in late, "a decoder of the module was made when that was loaded"
