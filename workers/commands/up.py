"""`latebind up`."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import click

from base.settings import Settings
from workers.up import System


@click.command()
@click.option("--quiet", is_flag=True, help="Keep what the processes print out of the terminal; var/log has it.")
def command(quiet: bool) -> None:
    """Run the whole system here: servers, pages, intake, opens, workers, inbox. Ctrl-C stops all of it."""
    settings = Settings.from_environment(os.environ)
    system = System(settings, echo=None if quiet else sys.stdout)
    for caught in (signal.SIGINT, signal.SIGTERM):
        signal.signal(caught, _interrupt)
    try:
        system.start()
        for line in system.places():
            click.echo(line)
        failed = system.wait()
    except KeyboardInterrupt:
        failed = ""
    finally:
        # From here a second Ctrl-C must not cut the clean stop short.
        for caught in (signal.SIGINT, signal.SIGTERM):
            signal.signal(caught, signal.SIG_IGN)
        system.stop()
    if failed:
        raise click.ClickException(failed)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
