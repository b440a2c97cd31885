"""`latebind bounces`."""

from __future__ import annotations

import os

import click

from base.logs import set_up
from base.settings import Settings
from workers.listening import serve


@click.command()
def command() -> None:
    """Take in bounces and complaints by SMTP or LMTP, where LATEBIND_BOUNCE_LISTEN says."""
    required = ("database_url", "token_keys", "hash_key", "pii_keys", "bounce_domain", "bounce_listen")
    settings = Settings.from_environment(os.environ, require=required)
    set_up(settings, "bounces")
    serve(settings)
