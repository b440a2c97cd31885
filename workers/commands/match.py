"""`latebind match`: look for customers who are probably one."""

from __future__ import annotations

from datetime import timedelta

import click

from base import db
from base.clock import clock_from
from base.counting import count
from signals import likely
from workers.commands.importing import opened_intake
from workers.likely import Matcher


@click.command("match")
@click.option("--scheduled", is_flag=True, help="Only where a run is due: asked for, or the newest too old.")
def command(scheduled: bool) -> None:
    """Merge customers who are as good as certainly one, and offer the likely ones on the page Likely matches.

    Needs the extra `identity`. Merges keep their evidence and are undone like any other.
    """
    with opened_intake() as (settings, intake):
        if scheduled:
            with db.transaction(intake.sessions) as session:
                if not likely.is_run_due(session, clock_from(settings).now(), timedelta(hours=settings.match_hours)):
                    click.echo("no look for likely matches is due")
                    return
        done = Matcher(intake, clock_from(settings)).run("latebind match")
    if done.fault is not None:
        click.echo(f"nothing was looked for: {done.fault}", err=True)
    looked = f"{count(done.people, 'customer')}, {count(done.pairs, 'pair')}"
    click.echo(f"run {done.run}: {looked}, {done.merged} merged, {done.offered} offered")
