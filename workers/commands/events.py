"""`latebind events`: the raw events of campaigns' mails for other tools."""

from __future__ import annotations

import os
from functools import partial
from typing import TextIO

import click
from sqlalchemy import select

from base import db
from base.vault import Vault
from campaigns import campaigns, messageevents
from campaigns.messageevents import FORMATS, KINDS
from campaigns.models import Campaign
from workers.beside import settings_here


@click.command("events")
@click.option("--campaign", "numbers", type=int, multiple=True, help="May be given again; all of them unless told.")
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="May be given again; all unless told.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="jsonl", show_default=True)
@click.option("--to", "file", type=click.File("w", encoding="utf-8"), default="-", help="A file; by default stdout.")
def command(numbers: tuple[int, ...], kinds: tuple[str, ...], form: str, file: TextIO) -> None:
    """Write all that happened to campaigns' mails: the ledger, fetches, clicks, consent, reports and orders."""
    settings = settings_here(os.environ, require=("database_url",))
    sessions = db.sessions(
        db.connect(settings.database_url, vault=Vault.of(settings), statement_ms=0, application="latebind events")
    )
    with db.transaction(sessions) as session:
        wanted = [campaigns.campaign(session, number).id for number in numbers]
        wanted = wanted or list(session.scalars(select(Campaign.id).order_by(Campaign.id)))
    for place, number in enumerate(wanted):
        opened = partial(db.transaction, sessions)
        for position, text in enumerate(messageevents.lines(opened, number, form, kinds or KINDS)):
            # One head for the whole file.
            if form != "csv" or place == 0 or position > 0:
                file.write(text)
