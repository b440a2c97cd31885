"""What is kept of people is sealed: a dump of the database without the keys names nobody and repeats no word of theirs.

Distinctive words are planted through everything that takes something of a person in; then every column of every table
is searched for them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from base.db import Sessions
from base.ids import Delivery
from base.stores import Store
from campaigns import dossier
from campaigns.admin_log import SYSTEM
from signals import suppression
from signals.identity import address_hash
from signals.intake import take
from signals.mailreports import Patience, Report
from signals.mailreports import take as take_report
from signals.matching import match_keys
from signals.shoporders import settle
from signals.shopreading import Bound, Said
from signals.shops import Shop as ConnectedShop
from tests.campaigns.web import Web
from tests.opening import opened, sealed_columns
from tests.workers.opens import Opens
from workers.rekeying import places

WORDS = {
    "e-mail": "zephyrine.qx77@quillfeather.example", "other e-mail": "old.qx77@quillfeather.example",
    "first name": "Zephyrine", "last name": "Quillfeather", "whole name": "Ottoline Vandersluis",
    "street": "Nightingale Row", "flat": "Attic Qx Left", "post code": "QX7 7XQ", "phone": "5550177123",
    "birthday": "1971-04-17", "loyalty card": "loyal-qx77", "device": "device-qx77", "customer number": "number-qx77",
    "gift note": "for my dearest Wilhelmina", "delivery note": "leave it with Mrs Abernathy",
    "call note": "her greyhound was ill", "complaint": "the courier was rude to grandfather",
    "own note": "prefers a call after vespers", "refused": "quench the refused qx77",
    "refused e-mail": "refused.qx77@ex.example",
    "contradiction": "contradicting tale of qx77", "survey": "my knees hurt since Easter",
    "told by phone": "texted from the convent of Melk",
    "consent": "she agreed on the phone in February", "lift": "wrote in violet ink that mail may come",
    "household": "both answered one door in Heidelberg", "leaving": "moved to a cottage in Wales",
    "test address": "tester.qx77@example.com", "refund": "refund since aunt Mildred has one",
    "bounce": "mailbox of countess qx77 is full", "coupon": "FORWILHELMINA",
    "message": "hello from a lonely lighthouse",
}  # fmt: skip
"""What is planted of a person, by what it is."""
HASHES = ("md5", "sha1", "sha256", "blake2b")


def everywhere(sessions: Sessions) -> Iterator[tuple[str, str]]:
    """Every column of every table with all that it holds, as text; bytes also as what they spell."""
    with sessions.begin() as session:
        columns = session.execute(text(
            "SELECT c.table_name, c.column_name, c.data_type FROM information_schema.columns c"
            " JOIN pg_class t ON t.relname = c.table_name AND t.relnamespace = 'public'::regnamespace"
            " WHERE c.table_schema = 'public' AND t.relkind IN ('r', 'p') AND NOT t.relispartition"
        )).all()  # fmt: skip
        assert len({row.table_name for row in columns}) > 60
        for table, column, kind in columns:
            for (value,) in session.execute(
                text(f'SELECT "{column}"::text FROM "{table}" WHERE "{column}" IS NOT NULL')
            ):
                yield f"{table}.{column}", value
                if kind == "bytea":
                    yield f"{table}.{column}", bytes.fromhex(value.removeprefix("\\x")).decode("latin-1")


def found_in(told: Iterator[tuple[str, str]]) -> dict[str, set[str]]:
    """In which columns each planted word stands: as it is, in any case, or its bytes in hexadecimal."""
    found: dict[str, set[str]] = {name: set() for name in WORDS}
    spelt = {name: (word.lower(), word.encode().hex(), word.lower().encode().hex()) for name, word in WORDS.items()}
    for place, value in told:
        lowered = value.lower()
        for name, spellings in spelt.items():
            if any(one in lowered for one in spellings):
                found[name].add(place)
    return found


def unsealed(sessions: Sessions) -> Iterator[tuple[str, str]]:
    """The sealed columns, opened with the key."""
    with sessions.begin() as session:
        for place in places():
            query = text(f'SELECT "{place.column.name}" FROM "{place.table.name}"')
            for (value,) in opened(session.execute(query)):
                yield place.name, value.decode("latin-1") if isinstance(value, bytes) else str(value)


def bare() -> dict[str, set[str]]:
    """Hashes without a key of what names the person, by what they are of; whoever can guess it could check them."""
    names = {"firstName": WORDS["first name"], "lastName": WORDS["last name"],
             "address": {"street": f"{WORDS['street']} 7", "postalCode": WORDS["post code"]}}  # fmt: skip
    phone = f"+49{WORDS['phone']}"
    made: dict[str, set[str]] = {kind: {key} for kind, key in match_keys(names, WORDS["e-mail"], phone)}
    made["whole name"] = {key for _, key in match_keys({"name": WORDS["whole name"]}, None, None)}
    for name in ("e-mail", "other e-mail", "whole name", "loyalty card", "device", "customer number"):
        spelt = (WORDS[name], WORDS[name].lower())
        made.setdefault(name, set()).update(
            hashlib.new(kind, one.encode()).hexdigest() for one in spelt for kind in HASHES
        )
    spelt = (phone, phone.lstrip("+"))
    made["phone"] = {hashlib.new(kind, one.encode()).hexdigest() for one in spelt for kind in HASHES}
    return made


def bare_in(told: Iterator[tuple[str, str]]) -> set[tuple[str, str]]:
    """Which of those hashes stand where, as text or as bytes; their first half is enough."""
    wanted = [(name, one[: len(one) // 2]) for name, ones in bare().items() for one in ones]
    spelt = [(name, one, bytes.fromhex(one).decode("latin-1")) for name, one in wanted]
    return {(name, place) for place, value in told for name, text_, raw in spelt if text_ in value or raw in value}


def held(store: Store) -> Iterator[tuple[str, str]]:
    """Every key of the hot store with all that it holds."""
    read: dict[bytes | str, Callable[[bytes], Any]] = {
        b"string": store.get, b"hash": store.hgetall, b"stream": store.xrange, b"set": store.smembers,
        b"list": lambda key: store.lrange(key, 0, -1), b"zset": lambda key: store.zrange(key, 0, -1, withscores=True),
    }  # fmt: skip
    for key in store.scan_iter():
        yield key.decode(), key.decode()
        yield from ((key.decode(), part.decode("latin-1")) for part in parts_of(read[store.type(key)](key)))


def parts_of(value: Any) -> Iterator[bytes]:
    """All bytes in an answer of the store."""
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        yield from parts_of([*value.keys(), *value.values()])
    elif isinstance(value, list | tuple | set):
        for one in value:
            yield from parts_of(one)


def live_through(opens: Opens, web: Web) -> int:
    """Everything happens to one person that the system takes something in from; returns their profile."""
    shop, who = opens.shop, {"userId": WORDS["customer number"]}
    traits = {
        "email": WORDS["e-mail"], "firstName": WORDS["first name"], "lastName": WORDS["last name"],
        "phone": "+49 555 0177 123", "loyaltyId": WORDS["loyalty card"], "birthday": WORDS["birthday"],
        "address": {"street": f"{WORDS['street']} 7", "line2": WORDS["flat"], "postalCode": WORDS["post code"],
                    "city": "Bonn"},
        "note": WORDS["own note"], "city": "Bonn", "plan": "gold",
    }  # fmt: skip
    shop.send({"type": "identify", **who, "anonymousId": WORDS["device"], "traits": traits})
    shop.send({"type": "identify", **who, "traits": {"email": WORDS["other e-mail"], "name": WORDS["whole name"]}})
    shop.clock.advance(timedelta(minutes=1))
    shop.send({"type": "identify", **who, "traits": {"email": WORDS["e-mail"]}})
    agreed = {"purpose": "email", "granted": True, "wording": WORDS["consent"]}
    shop.send({"type": "track", **who, "event": "Consent Changed", "properties": agreed})
    mails = opens.send("ann", "bob", discount={"fields": {"headline": "{{ profile.first_name }}, 10 % off"}})
    mail = mails[WORDS["e-mail"].partition("@")[0]]
    opens.look(mail)
    opens.get(mail.clicks[0])
    opens.record()
    line = {"product_id": "shoes-1", "category": "Shoes", "price": 80, "quantity": 1, "gift_note": WORDS["gift note"]}
    properties = {
        "order_id": "o-1", "products": [line], "total": 80, "currency": "EUR", "coupon": WORDS["coupon"],
        "delivery_note": WORDS["delivery note"],
        "shipping_address": {"street": f"{WORDS['street']} 7", "postalCode": WORDS["post code"]},
    }  # fmt: skip
    shop.send({"type": "track", **who, "messageId": "order-1", "event": "Order Completed", "properties": properties})
    shop.send({"type": "track", **who, "event": "Survey Answered",
               "properties": {"survey": "fit", "score": 3, "text": WORDS["survey"]}})  # fmt: skip
    shop.send({"type": "track", **who, "event": "Message Sent", "properties": {"text": WORDS["message"]}})
    other = {"type": "track", **who, "messageId": "order-1", "event": "Order Completed",
             "properties": properties | {"said": WORDS["contradiction"]}}  # fmt: skip
    wrong = {"type": "identify", **who, "traits": {"email": "none", "said": WORDS["refused"]},
             "context": {"mail": WORDS["refused e-mail"]}}  # fmt: skip
    moment = {"timestamp": shop.now.isoformat()}
    bodies = [msgspec.json.encode(moment | {"messageId": f"w-{n}"} | one) for n, one in enumerate((other, wrong))]
    assert [one.status for one in take(shop.intake, shop.source, bodies, shop.now)] == ["conflict", "rejected"]
    # What a shop says of an order that is not there yet waits.
    told = Bound(
        "o-unknown", "Order Refunded", {"order_id": "o-unknown", "note": WORDS["refund"]}, shop.now, "refund-1"
    )
    connected = ConnectedShop(shop.source, "shopify", b"", "EUR", "", "", b"g" * 32)
    settle(shop.intake, connected, Said(bound=[told]), shop.now)
    profile = shop.profile(WORDS["customer number"])
    by_staff(opens, web, profile)
    return profile


def by_staff(opens: Opens, web: Web, profile: int) -> None:
    """What people who work here type about the person."""
    shop, program = opens.shop, web.program("admin")
    others = [shop.profile(name) for name in ("ann", "bob")]
    found = program.told("POST", "/customers/search", {"q": WORDS["e-mail"].upper()})
    assert [one["profile"] for one in found["customers"]] == [profile]
    for kind, words in (("note", WORDS["call note"]), ("complaint", WORDS["complaint"])):
        program.told("POST", f"/customers/{profile}/notes", {"kind": kind, "text": words})
    program.told(
        "POST", f"/customers/{profile}/household", {"other": others[0], "why": WORDS["household"], "role": None}
    )
    program.told("POST", f"/customers/{profile}/household/leave", {"why": WORDS["leaving"]})
    hashed = address_hash(shop.settings.hash_key, WORDS["other e-mail"])
    with shop.sessions.begin() as session:
        suppression.suppress_hash(session, hashed, suppression.BOUNCED, shop.now)
        mail = Delivery(profile, opens.campaign, 1)
        report = Report(
            kind="soft", via="dsn", name="r-1", at=shop.now, mail=mail, address_hash=hashed, words=WORDS["bounce"]
        )
        assert take_report(session, report, Patience(5, 7), shop.now)
    lifted = {"address": hashed.hex(), "why": WORDS["lift"]}
    program.told("POST", f"/customers/{profile}/addresses/lift", lifted)
    stated = {"purpose": "sms", "granted": True, "why": WORDS["told by phone"]}
    program.told("POST", f"/customers/{profile}/consents", stated)
    tested = {"profile_ids": [profile], "address": WORDS["test address"]}
    answer = program.call("POST", f"/campaigns/{opens.campaign}/tests", tested)
    assert answer.status_code == 201, answer.text
    program.told("POST", f"/customers/{profile}/merges", {"other": others[1]})


@pytest.mark.feature("SU-13")
def test_it_names_nobody_in_a_dump_of_the_database_without_its_keys(opens: Opens) -> None:
    with closing(Web(opens.shop)) as web:
        profile = live_through(opens, web)
    sessions = opens.shop.sessions

    # The search finds what is there, else it would prove nothing.
    with_key = found_in(unsealed(sessions))
    assert {name: there for name, there in with_key.items() if not there} == {}
    assert {place for there in with_key.values() for place in there} == {place.name for place in places()}
    assert {name: there for name, there in found_in(everywhere(sessions)).items() if there} == {}
    # Nor is anything there by which a guess could be checked.
    assert {"name", "name_address", "name_email", "name_phone"} <= {name for name, _ in bare_in(unsealed(sessions))}
    assert bare_in(everywhere(sessions)) == set()
    assert bare_in(held(opens.shop.store)) == set()
    # Who has the key is told all of it.
    with sessions.begin() as session:
        made = dossier.export(
            session, opens.shop.store, opens.shop.settings.subject_key, profile, opens.shop.now, SYSTEM
        )
        with made:
            told = made.read().decode()
    elsewhere = {"test address", "bounce", "lift", "refund", "refused", "refused e-mail"}
    assert [name for name, word in WORDS.items() if name not in elsewhere and word.lower() not in told.lower()] == []


def test_it_declares_every_column_of_people_as_sealed() -> None:
    assert {one.place for kinds in sealed_columns().values() for one in kinds} == {
        "identifier.value", "event.body", "event_conflict.body", "rejected_event.body", "trait_lineage.value",
        "profile_state.encoded", "consent.wording", "household_claim.why", "household_claim.ended_why",
        "suppression_change.evidence", "mail_report.words", "shop_waiting.properties", "delivery.test_address",
    }  # fmt: skip
