"""`latebind inbox`."""

from __future__ import annotations

import os

import click

from base.logs import set_up
from base.settings import Settings
from workers.smtpsink import serve


@click.command()
def command() -> None:
    """Catch every mail on loopback, keep it under var/inbox, and show it on the inbox port."""
    settings = Settings.from_environment(os.environ)
    set_up(settings, "inbox")
    serve(settings)
