"""`latebind verify`: hold what is kept against the chain, or an evidence pack against itself."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import click

from base import db
from base.clock import clock_from
from base.db import transaction
from base.vault import Vault
from campaigns import chain, packs, verifying
from campaigns.retention import Policy
from workers.beside import settings_here

SHOWN_ROOTS = 7
SHOWN_FAULTS = verifying.MAX_FAULTS
LINE = 1_000
UNCHANGED = "Nothing was changed."
WHOLE = (
    "Whole in itself. Compare a root above with the one that was kept (--root): only that proves that nothing changed."
)


def _roots(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[date, str]:
    """DAY=HASH as they were kept."""
    found = {}
    for value in values:
        day, _, root = value.partition("=")
        try:
            if len(bytes.fromhex(root)) != 32:
                raise ValueError
            found[date.fromisoformat(day)] = root.lower()
        except ValueError:
            raise click.BadParameter("give a day and its root, as 2026-03-02=0123…, 64 hexadecimal digits") from None
    return found


@click.command("verify")
@click.argument("pack", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--root", "roots", multiple=True, callback=_roots, help="A day's root that was kept, DAY=HASH.")
def command(pack: Path | None, roots: dict[date, str]) -> None:
    """Say what was changed since it was kept, by name; exit status 1 if anything was.

    With a PACK, which needs neither a database nor a network: whether the evidence in it is whole. Without: every
    record of an open and every entry of the logs, against the chain of hashes. Roots of days that you kept elsewhere
    prove that the chain itself was not made anew.
    """
    if pack is not None:
        found = packs.verify(pack, roots)
        for line in found.told:
            click.echo(f"  {printable(line)}")
        _end(found.faults[:SHOWN_FAULTS], len(found.faults[SHOWN_FAULTS:]), UNCHANGED if found.is_rooted else WHOLE)
        return
    settings = settings_here(os.environ, require=("database_url",))
    clock = clock_from(settings)
    engine = db.connect(settings.database_url, vault=Vault.of(settings), statement_ms=0, application="latebind verify")
    try:
        with transaction(db.sessions(engine)) as session:
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            report = verifying.verify(session, roots, Policy.of(settings), clock.now())
            newest = chain.roots(session, SHOWN_ROOTS)
    finally:
        engine.dispose()
    click.echo(
        f"{report.rows:,} rows held against {report.entries:,} entries of the chain; {report.expired:,} had expired,"
        f" {report.waiting:,} wait to be tied."
    )
    for root in newest:
        click.echo(f"root of {root.day}: {root.hash}")
    _end(report.faults, report.more, UNCHANGED)


def printable(line: str) -> str:
    """One line of a terminal, whatever a pack or a row calls itself: no control characters, of a bounded length."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in line[:LINE])


def _end(faults: list[str], more: int, verdict: str) -> None:
    """The faults, and the verdict as the last line: nothing else begins like it."""
    for fault in faults:
        click.echo(f"FAULT {printable(fault)}", err=True)
    if more:
        click.echo(f"FAULT … and {more:,} more", err=True)
    if faults:
        click.echo(f"VERDICT: Something was changed, or is not as it should be: {len(faults) + more:,} faults.")
        raise SystemExit(1)
    click.echo(f"VERDICT: {verdict}")
