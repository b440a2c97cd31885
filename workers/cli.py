"""The command line. A command's module is loaded when the command is used: `latebind inbox` must not wait for LightGBM.

Each module of `workers/commands` holds one click command named `command`; the table here is the list of all of them.
"""

from __future__ import annotations

import importlib
import sys

import click

from base import shapes
from base.errors import LatebindError
from base.processes import loading

COMMANDS = {
    "up": ("up", "Run the whole system here until Ctrl-C."),
    "demo": ("demo", "Run the whole system and play a story through it."),
    "migrate": ("migrate", "Bring the database to the newest schema."),
    "user": ("user", "Add people who may sign in, and change their passwords."),
    "import": ("importing", "Load events or products from files."),
    "events": ("events", "Write the raw events of mails for other tools."),
    "train": ("train", "Train the next-best-offer model."),
    "judge": ("judge", "Decide recorded opens once more by the models on trial, and ask the gate about them."),
    "score": ("score", "Compute what is computed about people."),
    "match": ("match", "Look for customers who are probably one."),
    "relate": ("relate", "Learn what is bought with what, and how often."),
    "evaluate": ("evaluate", "Measure the product on a public data set."),
    "dossier": ("dossier", "Write all that is kept of one customer to a file."),
    "rebuild": ("rebuild", "Fold every profile state anew from the stored events."),
    "currency": ("currency", "Add money up in one currency, at rates that are given."),
    "rekey": ("rekey", "Seal what is kept of people anew under the newest key."),
    "records": ("records", "Put back records that were set aside; change their key."),
    "dkim": ("dkim", "Make, publish, activate and retire the keys that sign mails."),
    "doctor": ("doctor", "Check this installation and say what is wrong."),
    "instance": ("instance", "Say whose database this is; take over a copy or a backup."),
    "verify": ("verify", "Say what was changed since it was kept, or whether an evidence pack is whole."),
    "worker": ("worker", "Run the jobs of a queue."),
    "schedule": ("schedule", "Start what is due."),
    "recorder": ("recorder", "Move what happened at opens from the stream to the database."),
    "bounces": ("bounces", "Take in bounces and complaints by SMTP or LMTP."),
    "inbox": ("inbox", "Catch every mail on loopback and show it."),
}
"""Command → its module and its line in the help."""


class Commands(click.Group):
    """The commands of the table, loaded one at a time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load the command's module."""
        if cmd_name not in COMMANDS:
            return None
        with loading():
            command: click.Command = importlib.import_module(f"workers.commands.{COMMANDS[cmd_name][0]}").command
            shapes.prepare()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in the help, written without loading anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.command(cls=Commands)
@click.version_option(package_name="latebind")
def latebind() -> None:
    """Bind the offer in an e-mail when the mail is opened."""


def main() -> None:
    """Run a command; an error that a person can act on is one line on stderr and exit status 1."""
    try:
        latebind()
    except LatebindError as error:
        click.echo(f"latebind: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
