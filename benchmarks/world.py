"""What benchmarks run against: embedded servers in a folder of their own, keys, and a large shop's plan and model."""

from __future__ import annotations

import itertools
import random
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lightgbm
import msgspec
import numpy as np

from base import keys, stores
from base.blobs import blobs_from
from base.embedded import PostgresServer, ValkeyServer
from base.processes import free_port
from base.settings import Settings
from base.tokens import Purpose, Token, TokenKeys, day_of, second_number
from base.values import KEY_BYTES, TOKEN_KEY_BYTES
from base.vault import Vault
from render.creative import Creative
from render.model import Model
from render.plan import Live, Mode, Offer, Plan, Slot, digest, encode, encode_live
from render.starting import BY_NAME
from signals.candidates import MODEL_FEATURES
from signals.fold import fold_all
from signals.foldevent import FoldEvent, Line
from signals.moments import unix_ms
from signals.state import decode as decode_state
from signals.state import encode as encode_state
from tests.clusters import ValkeyCluster
from workers.migration import migrate

CAMPAIGN = 77
CATEGORIES = 120
HERO = "Restock discount"
STATES = 2_000
"""Distinct people's states; profiles beyond take them in turn."""


@dataclass
class World:
    """Settings that lead to running servers, and a client of the store."""

    settings: Settings
    store: stores.Store
    folder: Path


@contextmanager
def world(*, database: bool = False, cluster: bool = False) -> Iterator[World]:
    """Servers for the length of a benchmark; they and their folder are gone afterwards.

    `cluster`: the hot store is three nodes, without queues beside it.
    """
    folder = Path(tempfile.mkdtemp(prefix="latebind-bench-"))
    folder.chmod(0o755)
    pii_keys, hash_key = {1: secrets.token_bytes(KEY_BYTES)}, secrets.token_bytes(KEY_BYTES)
    valkey: ValkeyServer | ValkeyCluster = ValkeyServer(folder / "valkey", free_port(), folder / "valkey.log")
    if cluster:
        valkey = ValkeyCluster(folder)
    postgres = PostgresServer(folder / "postgres", free_port(), folder / "postgres.log") if database else None
    try:
        valkey.start()
        if postgres is not None:
            postgres.start()
            migrate(postgres.url, Vault(pii_keys), hash_key)
        read = Settings.from_environment({"LATEBIND_VAR": str(folder / "var")})
        settings = replace(
            read,
            redis_url=valkey.url,
            queue_url="" if cluster else valkey.url,
            database_url=postgres.url if postgres is not None else "",
            token_keys={1: secrets.token_bytes(TOKEN_KEY_BYTES)},
            record_key=secrets.token_bytes(KEY_BYTES),
            subject_key=secrets.token_bytes(KEY_BYTES),
            session_key=secrets.token_bytes(KEY_BYTES),
            pii_keys=pii_keys,
            hash_key=hash_key,
            render_workers=1,
            pin_cpus=True,
            log_level="warning",
        )
        yield World(settings, stores.connect(valkey.url), folder)
    finally:
        valkey.stop()
        if postgres is not None:
            postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


def trained(trees: int) -> bytes:
    """A model artefact with so many trees of 31 leaves over the real features, trained on made-up outcomes."""
    generator = np.random.default_rng(7)
    matrix = generator.normal(size=(20_000, len(MODEL_FEATURES))).astype(np.float32)
    labels = (matrix[:, 0] + matrix[:, 3] * matrix[:, 5] + generator.normal(size=len(matrix)) > 1).astype(int)
    parameters = {"objective": "binary", "num_leaves": 31, "verbose": -1, "num_threads": 1, "seed": 7}
    booster = lightgbm.train(parameters, lightgbm.Dataset(matrix, labels), num_boost_round=trees)
    popularity = dict.fromkeys(range(1, CATEGORIES + 1), 1 / CATEGORIES)
    return Model.build(booster.model_to_string(), MODEL_FEATURES, [0.0, 1.0], [0.0, 1.0], popularity=popularity)


def publish(place: World, candidates: int, trees: int, plans: int = 1, hero: str = HERO) -> Plan:
    """Put campaigns from CAMPAIGN on live, each a hero slot with candidates, one model for all; the last one's plan."""
    blobs = blobs_from(place.settings)
    model = blobs.put(trained(trees))
    for campaign in range(CAMPAIGN, CAMPAIGN + plans):
        plan = plan_of(candidates, campaign=campaign, hero=hero)
        data = encode(plan)
        blobs.put(data)
        place.store.set(keys.plan(digest(data)), data)
        place.store.set(keys.live(campaign), encode_live(Live(plan=digest(data), model=model)))
    return plan


def plan_of(candidates: int, mode: Mode = "model", campaign: int = CAMPAIGN, hero: str = HERO) -> Plan:
    """A plan with one hero slot and so many candidates, all drawn by one design; after them comes the default."""
    design = replace_id(1, hero)
    neutral = replace_id(2, "Neutral")
    offers = tuple(
        Offer(
            id=number,
            name=f"Offer {number}",
            kind="replacement",
            creative=1,
            landing="https://shop.example.com/",
            category=(number - 1) % CATEGORIES + 1,
            value_cents=200 + number,
            purpose_category=(number - 1) % CATEGORIES + 1,
            fields={"headline": f"Time for number {number}", "badge": "10% off", "button": "Save 10%"},
        )
        for number in range(1, candidates + 1)
    )
    default = Offer(id=9_999, name="Default", kind="neutral", creative=2, landing="https://shop.example.com/")
    return Plan(
        campaign=campaign,
        name="Benchmark",
        slots=(
            Slot(
                index=0, name="hero", width=600, height=300, offers=tuple(offer.id for offer in offers),
                default=default.id, alt="Your offer", mode=mode,
            ),
        ),
        offers=(*offers, default),
        creatives=(design, neutral),
        default_landing="https://shop.example.com/",
        categories={f"c{number}": number for number in range(1, CATEGORIES + 1)},
        category_names={f"c{number}": f"Category {number}" for number in range(1, CATEGORIES + 1)},
    )  # fmt: skip


def replace_id(number: int, name: str) -> Creative:
    """A shipped creative under another id."""
    return msgspec.structs.replace(BY_NAME[name], id=number)


def states(now: datetime, count: int = STATES) -> list[bytes]:
    """Encoded states of households with a year of baskets over some forty categories."""
    random_ = random.Random(7)
    made = []
    for _ in range(count):
        events = []
        for order in range(40):
            at = now - timedelta(days=random_.uniform(2, 365))
            lines = tuple(Line(f"p{random_.randint(1, 900)}", random_.randint(1, CATEGORIES), 1, 350) for _ in range(6))
            events.append(
                FoldEvent(
                    time_ms=unix_ms(at), message_id=f"m{order}", kind="order", arrival=order + 1, order_id=f"o{order}",
                    lines=lines, total_cents=2100,
                )
            )  # fmt: skip
        made.append(encode_state(fold_all(events)))
    return made


def people(place: World, count: int, now: datetime, first: int = 1, *, named: bool = False) -> list[str]:
    """Put so many people into the store, a thousand at a time, and return the path of each one's picture.

    `named`: every state is known by a first name of its own (at most STATES of them).
    """
    tokens = TokenKeys.from_settings(place.settings)
    known = states(now, min(STATES, count))
    if named:
        known = [_named(state, f"Reader {number}") for number, state in enumerate(known)]
    paths = []
    pipe = place.store.pipeline(transaction=False)
    for profile in range(first, first + count):
        pipe.set(keys.state(profile), known[profile % len(known)])
        paths.append(path_of(tokens, profile, 1, now))
        if profile % 1_000 == 0:
            pipe.execute()
    pipe.execute()
    return paths


def _named(data: bytes, name: str) -> bytes:
    state = decode_state(data)
    state.traits["first_name"] = name
    return encode_state(state)


def path_of(tokens: TokenKeys, profile: int, occurrence: int, now: datetime, campaign: int = CAMPAIGN) -> str:
    """The path of the hero picture in a mail."""
    token = Token(
        purpose=Purpose.PICTURE, profile=profile, campaign=campaign, occurrence=occurrence, slot=0, width=600,
        height=300, fmt="jpg", sent_s=day_of(second_number(now)),
    )  # fmt: skip
    return f"/o/{tokens.mint(token)}.jpg"


@contextmanager
def emptied(place: World) -> Iterator[None]:
    """Take from the stream what is on it, twice a second: a recorder that costs next to nothing."""
    stopped = threading.Event()

    def empty() -> None:
        while not stopped.wait(0.5):
            place.store.xtrim(keys.RECORDS, maxlen=0)

    thread = threading.Thread(target=empty, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def opens(place: World, people_count: int, now: datetime, first: int = 1) -> Iterator[str]:
    """Paths without end, each the first open of another delivery: these people, one occurrence after the other."""
    people(place, people_count, now, first)
    tokens = TokenKeys.from_settings(place.settings)
    for occurrence in itertools.count(1):
        for profile in range(first, first + people_count):
            yield path_of(tokens, profile, occurrence, now)


def now() -> datetime:
    """The present moment."""
    return datetime.now(UTC)
