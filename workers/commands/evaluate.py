"""`latebind evaluate`: measure the product on a public data set that the user has."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import click

from base.clock import monotonic
from base.errors import InvalidInput
from workers.evaluation_sets.catalogue import DATASETS
from workers.evaluation_sets.findings import document, table


@click.command("evaluate")
@click.argument("dataset", type=click.Choice(sorted(DATASETS)))
@click.option("--data", type=click.Path(exists=True, path_type=Path), help="The file or folder that holds the data.")
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="Write the findings there too.")
def command(dataset: str, data: Path | None, out: Path | None) -> None:
    """Run a data set's protocol: the product's own features, training and choice against known figures.

    docs/evaluation.md tells where each data set comes from, how its files are named, and what was found.
    """
    chosen = DATASETS[dataset]
    if data is None:
        if chosen.place is None:
            raise InvalidInput("data", f"must name the file or folder that holds {dataset}: --data PATH")
        data = chosen.place()
    # Millions of small rows that all live to the end: looking for rings among them takes longer than the reading.
    gc.disable()
    began = monotonic()
    findings = chosen.judged(data)
    seconds = monotonic() - began
    for line in table(findings):
        click.echo(line)
    click.echo(f"\n{dataset}: {seconds:.0f} s")
    if out is not None:
        out.write_text(json.dumps(document(dataset, findings, seconds), indent=2, ensure_ascii=False) + "\n")
