"""`latebind currency`: the currency in which money is added up, and the rates at which others are."""

from __future__ import annotations

from pathlib import Path

import click

from base.clock import clock_from
from base.counting import count
from base.db import transaction
from base.errors import InvalidInput
from base.processes import give_way
from base.settings import Settings
from signals import exchange
from signals.encodings import encoding_of
from signals.exchange import Given
from signals.intake import Intake
from signals.rebuild import rebuild
from workers.commands.importing import opened_intake
from workers.commands.rebuild import fail_where_damaged


@click.group("currency")
def command() -> None:
    """Add money up in one currency, at rates that are given."""


@command.command("set")
@click.argument("code")
def set_own(code: str) -> None:
    """Add money up in this currency, such as EUR. Rates in it are given with `latebind currency rates`."""
    _set(code)


@command.command("unset")
def unset() -> None:
    """Add amounts up as they are told, whatever their currency."""
    _set(None)


@command.command("rates")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def rates(file: Path) -> None:
    """Give rates: a CSV with the columns currency, day and rate.

    `USD,2026-03-01,0.92`: from that day on a dollar is worth 0.92 of the own currency, until the next day that is
    given. A rate that is known is replaced. The status is 1 where a row was refused, though the others are taken.
    """
    given = Given()
    with opened_intake() as (settings, intake):
        with transaction(intake.sessions) as session:
            own = exchange.own(session)
        if own is None:
            raise InvalidInput("currency", "must be set before rates in it are given: latebind currency set EUR")
        with file.open("rb") as stream:
            written = encoding_of(stream, None)
        with file.open(encoding=written, newline="") as lines:
            told = list(exchange.read_rates(lines, own, given))
        intake.settle(lambda session: exchange.give(session, told, own, given))
        click.echo(
            f"{count(given.changed, 'rate')} new or another, {len(told) - given.changed} known, {given.refused} refused"
        )
        _fold_again(settings, intake)
    for line, error in given.bad:
        click.echo(f"line {line}: {error}", err=True)
    if given.refused:
        raise SystemExit(1)


@command.command("show")
def show() -> None:
    """Say which currency money is added up in, and which orders tell, with the newest rates where it is an own one."""
    with opened_intake() as (_, intake), transaction(intake.sessions) as session:
        own = exchange.own(session)
        click.echo(f"Money is added up in {own}." if own else "Money is added up as it is told.")
        for currency, day in exchange.in_use(session, own).items():
            if own is None:
                click.echo(f"{currency}: told by orders")
            elif currency != own:
                click.echo(f"{currency}: {'no rate' if day is None else f'newest rate of {day}'}")
        for one in exchange.lacking(session):
            have = "has" if one.orders == 1 else "have"
            click.echo(f"{count(one.orders, 'order')} in {one.currency} {have} no rate, the first of {one.first}")
        if exchange.due(session):
            click.echo(exchange.INTERRUPTED)


def _set(code: str | None) -> None:
    with opened_intake() as (settings, intake):
        now = clock_from(settings).now()
        intake.settle(lambda session: exchange.set_own(session, code, now))
        click.echo("Money is added up as it is told." if code is None else f"Money is added up in {code.upper()}.")
        _fold_again(settings, intake)


def _fold_again(settings: Settings, intake: Intake) -> None:
    """Have what is stored of people follow what is committed, also what an interrupted run left."""
    found = intake.settle(exchange.due)
    if not found:
        return
    click.echo("States follow now; if this is interrupted, run it again.", err=True)
    people = intake.settle(lambda session: exchange.concerned(session, found))
    if people:
        give_way(settings.niceness)
        report = rebuild(intake, clock_from(settings).now(), only=people)
        click.echo(f"{count(report.profiles, 'profile')} folded anew, {report.different} different")
        fail_where_damaged(report)
    intake.settle(lambda session: exchange.done(session, found))
