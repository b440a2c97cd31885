"""The story of the demo, from top to bottom. Each act is a module; this file says in which order they come.

Everything happens through the product's own doors: bulk import, the manager's API, SMTP, the signals API, and plain
HTTP as mail clients do it.
"""

from __future__ import annotations

from campaigns import starting
from render.starting import HERO, TILE
from workers.demo.claims import Claims
from workers.demo.learning import learn
from workers.demo.loading import Digest, live_week, load, tell_catalogue_again
from workers.demo.memory import keep_states
from workers.demo.postbox import Postbox
from workers.demo.proof import prove
from workers.demo.reckoning import reckon
from workers.demo.recomputing import recompute
from workers.demo.reset import SOURCE_PREFIX, Trace, keep_trace, kept_trace, take_back
from workers.demo.restock import publish_restock, send
from workers.demo.results import await_rows, tell_results
from workers.demo.stage import Signals, Stage
from workers.demo.tales import tell_tales
from workers.demo.week import play_week, tell_feed


def play(stage: Stage, inbox_url: str) -> Claims:
    """Play the story; returns its claims, held or not. What an earlier run told is taken back first."""
    claims = Claims(stage.say)
    trace = kept_trace(stage.folder)
    run = trace.run + 1
    stage.say("1. Load: products, households, and every purchase before the story's now")
    digest = load(stage)
    take_back(stage)
    keep_states(stage)
    stage.say("2. Learn: what will a household buy within a week?")
    model, metrics = learn(stage)
    measures = metrics["measures"]
    claims.check(
        "the model ranks better than popularity on the held-out weeks",
        measures["hit"] > measures["popularity_hit"] and measures["ece"] < 0.02,
        f"hit@1 {measures['hit']:.3f}, popularity {measures['popularity_hit']:.3f}, "
        f"own favourite {measures['favourite_hit']:.3f}",
    )
    claims.check(
        "its probabilities hold for every category on the held-out weeks",
        measures["ece_largest"] < 0.06 and measures["brier_better"] >= 0.9 * len(metrics["candidates"]),
        f"largest calibration error {measures['ece_largest']:.3f}, median {measures['ece_median']:.3f}",
    )
    postbox = Postbox(inbox_url)
    name = f"{SOURCE_PREFIX} {run}"
    write_key = stage.api.post("/sources", {"name": name, "kind": "server"})["write_key"]
    signals = Signals(stage.settings.signals_url, write_key)
    before = postbox.newest()
    try:
        stage.say("3. Two small tales with hand-made people")
        tell_tales(stage, postbox, signals, f"run{run}", claims)
        _restock(stage, postbox, signals, name, digest, model, claims)
        stage.write_key, stage.feeds = write_key, (signals.feeds[0], signals.feeds[-1])
    finally:
        keep_trace(stage.folder, Trace(run, before + 1, postbox.newest()))
        postbox.close()
        signals.close()
    return claims


def tell_feeds_again(stage: Stage) -> None:
    """Have the shop tell its products, and those of the story as it last did, so that opens can trust them on."""
    tell_catalogue_again(stage)
    signals = Signals(stage.settings.signals_url, stage.write_key)
    try:
        for feed in stage.feeds:
            signals.products(feed)
    finally:
        signals.close()


def _restock(
    stage: Stage, postbox: Postbox, signals: Signals, source: str, digest: Digest, model: str, claims: Claims
) -> None:
    stage.say(f"4. The replenishment campaign, {stage.now:%A %Y-%m-%d %H:%M} UTC")
    restock = publish_restock(stage, digest, model, claims)
    before = postbox.newest()
    tell_feed(restock, signals)
    send(stage, restock.campaign, claims, restock.audience)
    mails = postbox.since(before)
    claims.check(
        "every accepted mail is in the inbox, once an address",
        len(mails) == restock.audience.sendable == len({mail.to for mail in mails}),
        f"{len(mails):,} mails",
    )
    stage.say("5. The week after: purchases come in as live signals, mails are opened and clicked")
    tally = play_week(stage, restock, mails, live_week(stage), signals)
    await_rows(stage, restock)
    stage.say("6. What came of it")
    found = tell_results(stage, restock, tally)
    claims.check("one household's picture before and after its purchase is under var/demo", found)
    names = {row["name"]: row["id"] for row in stage.api.get("/offers")["offers"]}
    defaults = tuple(names[starting.DEFAULTS[size][1]] for size in (HERO, TILE))
    prove(stage, restock, tally, defaults, claims)
    recompute(stage, restock, claims)
    stage.say("7. Another week later: did the probabilities come true?")
    reckon(stage, restock, source, claims)
