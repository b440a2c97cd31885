"""`latebind doctor`."""

from __future__ import annotations

import os
import sys

import click

from workers.beside import settings_here
from workers.checkup import examine


@click.command()
@click.option("--quiet", is_flag=True, help="Print only what is wrong; for health checks.")
def command(quiet: bool) -> None:
    """Check this installation part by part; exit status 1 when something is wrong."""
    findings = list(examine(settings_here(os.environ, require=())))
    for finding in findings:
        if not finding.well:
            click.echo(f"WRONG  {finding.part}: {finding.words}", err=quiet)
        elif not quiet:
            click.echo(f"ok     {finding.part}: {finding.words}")
    sys.exit(0 if all(finding.well for finding in findings) else 1)
