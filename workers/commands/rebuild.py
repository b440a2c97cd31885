"""`latebind rebuild`: fold every profile state anew from the stored events."""

from __future__ import annotations

import click

from base.clock import clock_from
from signals.rebuild import RebuildReport, rebuild
from workers.commands.importing import opened_intake

SHOW_EVERY = 2_000


@click.command("rebuild")
def command() -> None:
    """Fold every profile state anew from the stored events; says how many came out different."""
    shown = 0

    def show(report: RebuildReport) -> None:
        nonlocal shown
        if report.profiles - shown >= SHOW_EVERY:
            shown = report.profiles
            click.echo(f"{report.profiles:,} profiles", err=True)

    with opened_intake() as (settings, intake):
        report = rebuild(intake, clock_from(settings).now(), show)
    click.echo(f"{report.profiles} profiles folded anew, {report.different} different, {report.absent} were lost")
    if report.different:
        click.echo(f"different: {', '.join(map(str, report.first))}", err=True)
