"""`latebind match`: look for customers who are probably one."""

from __future__ import annotations

import click

from base.clock import clock_from
from base.counting import count
from workers.commands.importing import opened_intake
from workers.likely import Matcher


@click.command("match")
def command() -> None:
    """Merge customers who are as good as certainly one, and offer the likely ones on the page Likely matches.

    Needs the extra `identity`. Merges keep their evidence and are undone like any other.
    """
    with opened_intake() as (settings, intake):
        done = Matcher(intake, clock_from(settings)).run("latebind match")
    if done.fault is not None:
        click.echo(f"nothing was looked for: {done.fault}", err=True)
    looked = f"{count(done.people, 'customer')}, {count(done.pairs, 'pair')}"
    click.echo(f"run {done.run}: {looked}, {done.merged} merged, {done.offered} offered")
