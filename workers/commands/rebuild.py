"""`latebind rebuild`: fold every profile state anew from the stored events, or count what campaigns keep counts of."""

from __future__ import annotations

from functools import partial

import click
from redis import RedisError
from sqlalchemy import select

from base.blobs import blobs_from
from base.clock import clock_from
from base.counting import count
from base.db import Sessions, transaction
from base.errors import Unavailable
from base.processes import give_way
from base.settings import Settings
from campaigns import opentally, tally
from campaigns.models import Campaign
from render.record import RepairRecord
from signals import exchange
from signals.intake import Intake
from signals.publishing import HOT_STORE
from signals.rebuild import SHOWN, RebuildReport, rebuild
from workers.commands.importing import opened_intake
from workers.repair import Repairs

SHOW_EVERY = 2_000


@click.command("rebuild")
@click.option("--counts", is_flag=True, help="Count ledgers and records of opens anew instead.")
def command(counts: bool) -> None:
    """Fold every profile state anew from the stored events; says how many came out different.

    Ends with 1 where somebody's events cannot all be opened.
    """
    if counts:
        with opened_intake() as (_, intake):
            count_anew(intake.sessions)
        return
    shown = 0
    failed: list[int] = []

    def show(report: RebuildReport) -> None:
        nonlocal shown
        if report.profiles - shown >= SHOW_EVERY:
            shown = report.profiles
            click.echo(f"{report.profiles:,} profiles", err=True)

    with opened_intake() as (settings, intake):
        # It holds the locks of a few people at a time, so whoever waits for them does not wait long for it either.
        give_way(settings.niceness)
        due = intake.settle(exchange.due)
        restore = partial(_restore, _repairs(settings, intake), failed)
        report = rebuild(intake, clock_from(settings).now(), show, restore=restore)
        if not report.damaged:
            intake.settle(lambda session: exchange.done(session, due))
    click.echo(
        f"{count(report.profiles, 'profile')} folded anew, {report.different} different, {report.absent} were lost"
    )
    if report.ahead:
        click.echo(f"of a time that the database has lost in the hot store: {report.ahead}", err=True)
    if report.unknown:
        click.echo(f"of people whom the database does not know, taken away there: {report.unknown}", err=True)
    if report.erased:
        click.echo(
            "erased in the hot store and not in the database, so nothing is shown to them; erase these customers again:"
            f" {', '.join(map(str, report.erased))}",
            err=True,
        )
    if failed:
        click.echo(f"not brought back; a recorder tries again: {', '.join(map(str, failed[:SHOWN]))}", err=True)
    if report.different:
        click.echo(f"different: {', '.join(map(str, report.first))}", err=True)
    fail_where_damaged(report)


def _repairs(settings: Settings, intake: Intake) -> Repairs:
    return Repairs(intake.sessions, intake.publisher.store, blobs_from(settings), intake, settings.subject_key)


def _restore(repairs: Repairs, failed: list[int], profile: int) -> None:
    """Bring back what the hot store has lost of a person, the state last; of whom it fails is in `failed` then."""
    try:
        if not repairs.repair([RepairRecord(id="", at_ms=0, what="state", profile=profile, name="", campaign=0)]):
            failed.append(profile)
    except RedisError as error:
        raise Unavailable(HOT_STORE) from error


def fail_where_damaged(report: RebuildReport) -> None:
    """Name the signals that do not open, a hundred at most, and end with 1 where there are any."""
    named = [f"event.body, id {event}, of profile {one}" for one, events in report.damaged.items() for event in events]
    for words in named[:SHOWN]:
        click.echo(f"Damaged: {words}", err=True)
    if named:
        raise click.ClickException(
            f"of {count(len(report.damaged), 'profile')} some signals do not open. Their states were made without "
            "them, but for what they said of consent; put the signals back from a backup, then run this again."
        )


def count_anew(sessions: Sessions) -> None:
    """Make the kept counts of every campaign from its rows, one after the other; says which were others before."""
    with transaction(sessions) as session:
        numbers = list(session.scalars(select(Campaign.id).order_by(Campaign.id)))
    different = []
    for number in numbers:
        with transaction(sessions) as session:
            # A row that is moved just then may be told as a difference: the counts are right all the same.
            before = tally.counts(session, number), opentally.counts(session, number)
            tally.rebuild(session, number)
            opentally.rebuild(session, number)
            if before != (tally.counts(session, number), opentally.counts(session, number)):
                different.append(number)
    click.echo(f"{len(numbers)} campaigns counted anew, {len(different)} different")
    if different:
        click.echo(f"different: {', '.join(map(str, different))}", err=True)
