"""`latebind user`: add people who may sign in, list them, change their passwords."""

from __future__ import annotations

import os
import secrets

import click

from base import db
from base.clock import clock_from
from base.errors import NotFound
from base.settings import Settings
from base.vault import Vault
from campaigns import people
from campaigns.admin_log import SYSTEM
from campaigns.models.accounts import ROLES
from workers.beside import settings_here


def _sessions() -> tuple[Settings, db.Sessions]:
    settings = settings_here(os.environ, require=("database_url",))
    return settings, db.sessions(
        db.connect(settings.database_url, vault=Vault.of(settings), application="latebind user")
    )


@click.group("user")
def command() -> None:
    """Add people who may sign in, and change their passwords."""


@command.command("add")
@click.argument("email")
@click.option("--name", default="", help="How pages name them; by default the part before the @.")
@click.option("--role", "roles", multiple=True, type=click.Choice(ROLES), required=True, help="May be given again.")
@click.option("--password", envvar="PASSWORD", default="", help="By default one is made and printed.")
def add(email: str, name: str, roles: tuple[str, ...], password: str) -> None:
    """Add somebody."""
    settings, sessions = _sessions()
    chosen = password or secrets.token_urlsafe(12)
    with db.transaction(sessions) as session:
        now = clock_from(settings).now()
        people.create_user(session, email, name or email.partition("@")[0], chosen, roles, now, SYSTEM)
    click.echo(f"Added as {', '.join(roles)}." + ("" if password else f" The password is {chosen}"))


@command.command("list")
def show() -> None:
    """Everybody, with their roles."""
    _, sessions = _sessions()
    with db.transaction(sessions) as session:
        for user in people.users(session):
            click.echo(f"{user.email}\t{', '.join(user.roles)}\t{'active' if user.active else 'may not sign in'}")


@command.command("password")
@click.argument("email")
@click.option("--password", envvar="PASSWORD", prompt=True, hide_input=True, confirmation_prompt=True)
def password(email: str, password: str) -> None:
    """Set somebody's password."""
    settings, sessions = _sessions()
    with db.transaction(sessions) as session:
        found = next((user for user in people.users(session) if user.email == email.strip().lower()), None)
        if found is None:
            raise NotFound("person with this address")
        people.change_user(session, found.id, clock_from(settings).now(), SYSTEM, password=password)
    click.echo("Changed.")
