"""`latebind score`: compute what is computed about people."""

from __future__ import annotations

from datetime import datetime, timedelta

import click

from base import db
from base.blobs import blobs_from
from base.clock import check_year, clock_from
from base.counting import count
from base.errors import InvalidInput
from campaigns import scores
from campaigns.models.scores import ScoreModel
from workers.commands.importing import opened_intake
from workers.futures import table
from workers.scoring import Scorer


@click.command("score")
@click.option("--at", "moment", help="As of this instant instead of now, such as 2026-03-01T00:00:00Z.")
@click.option("--train/--no-train", default=None, help="Train the models anew, or not. [when older than a week]")
@click.option("--scheduled", is_flag=True, help="Only where a run is due: asked for, or the newest too old.")
def command(moment: str | None, train: bool | None, scheduled: bool) -> None:
    """Compute everybody's scores: chances of leaving and buying, worth ahead, the profit guard's flags."""
    with opened_intake() as (settings, intake):
        clock = clock_from(settings)
        if scheduled:
            with db.transaction(intake.sessions) as session:
                if not scores.is_run_due(session, clock.now(), timedelta(hours=settings.score_hours)):
                    click.echo("no scores are due")
                    return
        as_of = clock.now() if moment is None else _instant(moment)
        done = Scorer(intake, blobs_from(settings), clock).run(as_of, "latebind score", retrain=train)
        if done.model is not None:
            with db.transaction(intake.sessions) as session:
                for line in table(session.get_one(ScoreModel, done.model).measures):
                    click.echo(line)
            click.echo(f"model {done.model}")
    if done.why_no_model is not None:
        click.echo(f"no model: the events {done.why_no_model}", err=True)
    flagged = ", ".join(f"{name} {number}" for name, number in done.flagged.items())
    people = count(done.people, "person", "people")
    click.echo(f"run {done.run}: {people} as of {as_of.isoformat()}; flagged: {flagged}")


def _instant(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput("--at", "must be a date, a time and an offset, such as 2026-03-01T00:00:00Z") from None
    if found.tzinfo is None:
        raise InvalidInput("--at", "needs an offset, such as Z")
    check_year(found, "--at")
    return found
