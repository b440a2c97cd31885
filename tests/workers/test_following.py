"""What follows from records, also when one of them asks for what cannot be done."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest
from flask.testing import FlaskClient

from base import keys
from base.blobs import blobs_from
from base.clock import FixedClock, monotonic, pause
from base.db import Sessions
from base.ids import TEST_BIT, Delivery
from base.sealing import Sealer
from base.settings import Settings
from base.stores import Store
from campaigns import plans
from campaigns.models import Campaign, Offer
from render import record
from render.access import KeyFacts, encode_key
from render.agree import balance, stale_reservations
from render.app import create_app
from render.contact import mint_profile
from render.plan import encode
from render.record import ConsentRecord, Record, RepairRecord
from render.spool import Spool
from signals.moments import unix_ms
from signals.state import decode
from tests.campaigns.shop import Shop
from tests.render.mail import Mail, browser
from tests.render.shoe_shop import DISCOUNT, NOON, plan
from workers.following import Following
from workers.recorder import Recorder, RecorderParts, run
from workers.repair import Repairs

SECRET = "s3cret"


@pytest.fixture
def parts(settings: Settings, sessions: Sessions, valkey: Store) -> RecorderParts:
    settings = replace(settings, deadline_ms=5000)
    return RecorderParts(settings, sessions, valkey, blobs_from(settings), FixedClock(NOON))


@pytest.fixture
def shop(parts: RecorderParts) -> Shop:
    """A shop that knows one person, who agreed to mails."""
    made = Shop(parts.settings, parts.sessions, parts.store, FixedClock(NOON - timedelta(hours=1)))
    made.people("u1")
    made.send(made.consent("u1", True, "tracking"))
    return made


@pytest.fixture
def mail(parts: RecorderParts, shop: Shop) -> Mail:
    """That person's mail, the plan in the blobs too; its discount may be shown ten times."""
    assert shop.offer(cap_total=10) == DISCOUNT
    campaign = shop.campaign(published=False)
    shown = msgspec.structs.replace(plan(discount={"cap_total": 10}), campaign=campaign)
    made = Mail(parts.store, parts.settings, shown, Delivery(shop.profile("u1"), campaign, 1))
    digest = made.publish()
    assert parts.blobs.put(encode(shown)) == digest
    with shop.sessions.begin() as session:
        session.get_one(Offer, DISCOUNT).cap_opened = 10
        session.get_one(Campaign, campaign).plan_hash = digest
        plans.add(session, digest, campaign, digest, 1, NOON, "test")
    made.store.set(keys.api_key("server1"), encode_key(KeyFacts("server", hashlib.sha256(SECRET.encode()).digest())))
    return made


@pytest.fixture
def client(mail: Mail, parts: RecorderParts) -> Iterator[FlaskClient]:
    app = create_app(parts.settings, parts.clock)
    yield app.test_client()
    app.extensions["parts"].close()


@pytest.fixture
def recorder(parts: RecorderParts) -> Recorder:
    made = Recorder(parts, Following(parts))
    made.prepare()
    return made


@pytest.fixture
def repairs(parts: RecorderParts, shop: Shop) -> Repairs:
    return Repairs(parts.sessions, parts.store, parts.blobs, shop.intake, parts.settings.subject_key)


def ask(client: FlaskClient, mail: Mail, request: str) -> None:
    """Decide a contact with the mail's person."""
    body = {
        "campaign": mail.plan.campaign, "channel": "call", "placement": "hero", "request": request,
        "profile": mint_profile(mail.tokens, mail.delivery.profile),
    }  # fmt: skip
    answer = client.post("/v1/decide", json=body, headers={"Authorization": f"Bearer server1.{SECRET}"})
    assert answer.get_json()["slots"][0]["offer"] == DISCOUNT


def tell(parts: RecorderParts, *records: Record) -> None:
    """Put records on the stream, each an entry of its own."""
    sealer = Sealer(parts.settings.record_key)
    for one in records:
        parts.store.xadd(keys.RECORDS, {record.STREAM_FIELD: record.seal((one,), sealer)})


def repair(what: str, name: str = "", profile: int = 0) -> RepairRecord:
    return RepairRecord(
        id="d" * 32, at_ms=unix_ms(NOON), what=what, profile=profile, campaign=7, occurrence=1, name=name
    )


def consent(profile: int, occurrence: int) -> ConsentRecord:
    return ConsentRecord(
        id="c" * 32, at_ms=unix_ms(NOON), profile=profile, campaign=7, occurrence=occurrence, purpose="email",
        granted=False, via="one-click",
    )  # fmt: skip


def agrees(mail: Mail) -> bool:
    """Whether the person wants mails, as opens read it."""
    data = mail.store.get(keys.state(mail.delivery.profile))
    assert isinstance(data, bytes)
    return decode(data).consent["email"]


def stale(mail: Mail) -> list[str]:
    """The reservations that an hour from now nobody has settled."""
    return list(stale_reservations(mail.store, DISCOUNT, unix_ms(NOON) + 3_600_000))


def test_it_keeps_the_total_cap_of_a_contact(client: FlaskClient, mail: Mail, recorder: Recorder) -> None:
    ask(client, mail, "call-1")
    client.get(mail.url(), headers=browser())
    assert len(stale(mail)) == 2
    assert recorder.step(block_ms=1) > 0
    assert stale(mail) == []
    assert balance(mail.store, DISCOUNT) == 8


def test_it_gives_back_no_cap_that_a_recorded_open_took(
    client: FlaskClient, mail: Mail, recorder: Recorder, repairs: Repairs
) -> None:
    ask(client, mail, "call-1")
    client.get(mail.url(), headers=browser())
    (called, opened) = sorted(stale(mail), key=len, reverse=True)
    recorder.step(block_ms=1)
    for name in (called, opened, f"{called}1", "nobody's"):
        mail.store.hset(keys.cap(DISCOUNT), name, unix_ms(NOON))
    assert repairs.free_reservations(NOON + timedelta(hours=1)) == 2
    assert stale(mail) == []
    assert balance(mail.store, DISCOUNT) == 10


def test_it_frees_nothing_while_the_record_waits(
    client: FlaskClient, mail: Mail, parts: RecorderParts, recorder: Recorder
) -> None:
    ask(client, mail, "call-1")
    assert isinstance(parts.clock, FixedClock)
    parts.clock.advance(timedelta(hours=1))
    recorder.idle()
    assert balance(mail.store, DISCOUNT) == 9
    recorder.step(block_ms=1)
    recorder.idle()
    assert balance(mail.store, DISCOUNT) == 9


def test_it_counts_contacts_when_it_restores_a_person_and_a_cap(
    client: FlaskClient, mail: Mail, recorder: Recorder, repairs: Repairs
) -> None:
    ask(client, mail, "call-1")
    client.get(mail.url(), headers=browser())
    recorder.step(block_ms=1)
    used, shown = mail.used(), mail.lane().chosen
    mail.store.delete(keys.cap(DISCOUNT), keys.used(mail.delivery.profile))
    mail.store.delete(keys.shown(mail.delivery.profile, mail.delivery.name))
    wanted = (repair("cap", str(DISCOUNT)), repair("state", profile=mail.delivery.profile))
    assert repairs.repair(wanted) == 2
    assert balance(mail.store, DISCOUNT) == 8
    assert mail.used() == used
    assert mail.lane().chosen == shown


def test_it_records_on_when_a_repair_fails(
    shop: Shop, mail: Mail, parts: RecorderParts, recorder: Recorder, sessions: Sessions
) -> None:
    with sessions.begin() as session:
        row = session.get_one(Campaign, mail.plan.campaign)
        row.plan_hash = "0" * 64
    tell(parts, repair("plan"), repair("state", name="nobody"), consent(mail.delivery.profile, 1))
    assert recorder.step(block_ms=1) == 3
    assert recorder.lag() == 0
    assert agrees(mail) is False


def test_it_hears_no_withdrawal_from_a_test_mail(
    shop: Shop, mail: Mail, parts: RecorderParts, recorder: Recorder
) -> None:
    tell(parts, consent(mail.delivery.profile, TEST_BIT | 1))
    assert recorder.step(block_ms=1) == 1
    assert agrees(mail) is True


def test_it_does_its_other_work_under_steady_traffic(parts: RecorderParts, recorder: Recorder, mail: Mail) -> None:
    """A second feeds the stream without a pause; what lies in the spool is recorded all the same, caps are freed."""
    left = Spool(parts.settings.var / "spool")
    made = (consent(mail.delivery.profile, 1),)
    assert left.append([record.seal(made, Sealer(parts.settings.record_key))])
    left.close()
    mail.store.hset(keys.cap(DISCOUNT), "9.7.1.1", unix_ms(NOON) - 3_600_000)
    stop, until = threading.Event(), monotonic() + 20

    def feed() -> None:
        while not stop.is_set():
            if recorder.lag() < 20:
                tell(parts, *(repair("live", "nothing") for _ in range(20)))

    threads = [threading.Thread(target=feed), threading.Thread(target=run, args=(recorder, stop))]
    for thread in threads:
        thread.start()
    while (left.waiting() or stale(mail)) and monotonic() < until:
        pause(0.05)
    stop.set()
    for thread in threads:
        thread.join()
    assert (left.waiting(), stale(mail)) == ([], [])
