"""`latebind doctor`."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from base import db
from base.clock import clock_from
from base.settings import Settings
from base.tokens import TokenKeys
from base.vault import Vault
from campaigns import dkimkeys, sendingdoctor
from campaigns.lookups import Lookups
from workers.beside import settings_here
from workers.checkup import examine


@click.command()
@click.option("--quiet", is_flag=True, help="Print only what is wrong; for health checks.")
@click.option("--domain", default=None, help="Check what receivers see of a sending domain, and nothing else.")
def command(quiet: bool, domain: str | None) -> None:
    """Check this installation part by part; exit status 1 when something is wrong."""
    settings = settings_here(os.environ, require=() if domain is None else ("database_url", "token_keys"))
    if domain is not None:
        _examine_domain(settings, domain)
    findings = list(examine(settings, health=quiet))
    for finding in findings:
        if not finding.well:
            click.echo(f"WRONG  {finding.part}: {finding.words}", err=quiet)
        elif not quiet:
            click.echo(f"ok     {finding.part}: {finding.words}")
    sys.exit(0 if all(finding.well for finding in findings) else 1)


def _examine_domain(settings: Settings, domain: str) -> NoReturn:
    """Print what each check of a sending domain found, with the record to publish, and exit."""
    host = dkimkeys.domain_name(domain)
    engine = db.connect(settings.database_url, vault=Vault.of(settings), application="latebind doctor")
    try:
        with db.transaction(db.sessions(engine)) as session:
            keys = dkimkeys.keys(session)
    finally:
        engine.dispose()
    tokens, now = TokenKeys.from_settings(settings), clock_from(settings).now()
    well = True
    for found in sendingdoctor.examine(host, keys, settings, Lookups.of(settings), tokens, now):
        well = well and found.well is not False
        mark = {True: "ok", False: "WRONG", None: "?"}[found.well]
        click.echo(f"{mark:<6} {found.check}: {found.words}")
        if found.publish is not None:
            click.echo(f"       {found.publish.line}")
    sys.exit(0 if well else 1)
