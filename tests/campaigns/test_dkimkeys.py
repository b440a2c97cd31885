"""DKIM keys: made, published, activated, replaced and retired, by page and API; never in clear in the database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization
from sqlalchemy import text

from base.errors import Conflict, InvalidInput
from campaigns import dkimkeys, signing
from campaigns.dkimkeys import Keyring, Unopenable
from campaigns.lookups import Lookups, NoAnswer
from campaigns.models.signing import DkimKey
from tests.campaigns.shop import MANAGER, Shop
from tests.campaigns.web import Web, told
from tests.nameserver import NameServer, name_server

DOMAIN = "shop.example"


@pytest.fixture(autouse=True)
def short_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a key of full length takes a while, and nothing here depends on it."""
    monkeypatch.setattr(signing, "RSA_BITS", 1024)


@pytest.fixture
def dns() -> Iterator[NameServer]:
    with name_server() as server:
        yield server


def make(shop: Shop, algorithm: str = "rsa", domain: str = DOMAIN) -> DkimKey:
    with shop.sessions.begin() as session:
        return dkimkeys.make(session, domain, algorithm, shop.settings.subject_key, shop.now, MANAGER)


def activate(shop: Shop, key: DkimKey, dns: NameServer) -> DkimKey:
    with shop.sessions.begin() as session:
        return dkimkeys.activate(session, key.id, Lookups([dns.place]), shop.now, MANAGER)


def publish(key: DkimKey, dns: NameServer) -> None:
    found = dkimkeys.record(key)
    dns.text(found.name, found.value)


def selectors(shop: Shop, domain: str = DOMAIN) -> list[str]:
    """The names of the keys that a host with these settings would sign a mail of the domain with."""
    ring = Keyring(shop.settings.subject_key)
    with shop.sessions.begin() as session:
        ring.refresh(session)
    return [key.selector for key in ring.of(domain)]


def test_it_signs_with_a_key_once_it_is_published_and_with_its_successor_after_that(
    shop: Shop, dns: NameServer
) -> None:
    first = make(shop)
    assert selectors(shop) == []
    with pytest.raises(Conflict, match="has no TXT record yet"):
        activate(shop, first, dns)
    publish(first, dns)
    activate(shop, first, dns)
    beside = make(shop, "ed25519")
    publish(beside, dns)
    activate(shop, beside, dns)
    assert selectors(shop) == [first.selector, beside.selector] == ["lb20260302-rsa", "lb20260302-ed25519"]
    second = make(shop)
    publish(second, dns)
    assert selectors(shop) == [first.selector, beside.selector], "made is not yet active"
    activate(shop, second, dns)
    assert selectors(shop) == [second.selector, beside.selector] == ["lb20260302-rsa-2", "lb20260302-ed25519"]
    with shop.sessions.begin() as session:
        kept = dkimkeys.key(session, first.id)
        assert (kept.state, kept.sealed is None) == ("kept", False)
        dkimkeys.retire(session, first.id, shop.now, MANAGER)
        assert (kept.state, kept.sealed) == ("retired", None)
        with pytest.raises(Conflict, match="private half is gone"):
            dkimkeys.activate(session, first.id, Lookups([dns.place]), shop.now, MANAGER)
        with pytest.raises(Conflict, match="is good for one key"):
            dkimkeys.make(session, DOMAIN, "rsa", b"k" * 32, shop.now, MANAGER, first.selector)
        dkimkeys.retire(session, second.id, shop.now, MANAGER)
    assert selectors(shop) == [beside.selector]


def test_it_signs_for_domains_below_its_own_unless_they_have_keys(shop: Shop, dns: NameServer) -> None:
    for domain in (DOMAIN, f"news.{DOMAIN}"):
        key = make(shop, "ed25519", domain)
        publish(key, dns)
        activate(shop, key, dns)
    ring = Keyring(shop.settings.subject_key)
    with shop.sessions.begin() as session:
        ring.refresh(session)
    found = {name: [key.domain for key in ring.of(name)] for name in (
        DOMAIN, f"news.{DOMAIN}", f"x.y.news.{DOMAIN}", f"mail.{DOMAIN}", "other.example", "example",
    )}  # fmt: skip
    assert list(found.values()) == [[DOMAIN], [f"news.{DOMAIN}"], [f"news.{DOMAIN}"], [DOMAIN], [], []]


def test_it_says_what_is_wrong_with_a_record(shop: Shop, dns: NameServer) -> None:
    key, other = make(shop), make(shop)
    name, value = dkimkeys.record(key).name, dkimkeys.record(key).value
    lookups = Lookups([dns.place])
    for records, words in (
        ([dkimkeys.record(other).value], "holds another key"),
        ([value[:-10]], "holds another key"),
        ([value, dkimkeys.record(other).value], "has 2 keys"),
        (["v=DKIM1; k=rsa; p="], "revoked"),
        ([value.replace("k=rsa", "k=ed25519")], "must be k=rsa"),
        ([value.replace("v=DKIM1;", "v=DKIM1; t=y:s;")], "t=y"),
        (["v=spf1 -all"], "has no TXT record"),
    ):
        dns.text(name, *records)
        well, said = dkimkeys.published(key, lookups)
        assert (well, words in said) == (False, True), said
    dns.text(name, value.replace("; ", ";").replace("p=", "p= ").replace(" k=", "  k="), "google-site=1")
    assert dkimkeys.published(key, lookups) == (True, f"{name} shows the key.")
    dns.failing.add(name)
    with pytest.raises(NoAnswer):
        dkimkeys.published(key, lookups)


def test_it_keeps_no_private_half_in_clear_and_opens_it_with_its_own_secret_only(shop: Shop, dns: NameServer) -> None:
    key = make(shop)
    publish(key, dns)
    activate(shop, key, dns)
    ring = Keyring(shop.settings.subject_key)
    with shop.sessions.begin() as session:
        ring.refresh(session)
        stored = session.execute(
            text("SELECT row_to_json(k)::text || row_to_json(l)::text FROM dkim_key k, admin_log l")
        )
        kept = " ".join(row[0] for row in stored)
    (opened,) = ring.of(DOMAIN)
    secret = opened.private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    assert secret[-64:].hex() not in kept
    assert '"sealed":"\\\\x01' in kept
    assert all("sealed" not in entry.partition("}")[0] for entry in kept.split('"after"')[1:])
    assert "PrivateKey" not in repr(opened)
    stranger = Keyring(b"x" * 32)
    swapped = Keyring(shop.settings.subject_key)
    with shop.sessions.begin() as session:
        stranger.refresh(session)
    with shop.sessions.begin() as session:
        session.execute(text("UPDATE dkim_key SET selector = 'other'"))
        swapped.refresh(session)
    for ring in (stranger, swapped):
        with pytest.raises(Unopenable, match="another LATEBIND_SUBJECT_KEY"):
            ring.of(DOMAIN)


@pytest.mark.parametrize(
    "domain", ["", "shop", "shop example", "-shop.example", "a" * 64 + ".example", "shop.example:x"]
)
def test_it_takes_no_odd_domain(shop: Shop, domain: str) -> None:
    with pytest.raises(InvalidInput, match="domain"):
        make(shop, domain=domain)


def test_it_prints_a_long_record_in_strings_that_fit() -> None:
    key = DkimKey(domain=DOMAIN, selector="s", algorithm="rsa", public="A" * 392)
    record = dkimkeys.record(key)
    assert [len(part) for part in record.strings] == [255, len(record.value) - 255]
    assert record.line == f's._domainkey.{DOMAIN}. 3600 IN TXT "{record.strings[0]}" "{record.strings[1]}"'


def test_it_is_run_by_pages_and_by_the_api(shop: Shop, dns: NameServer) -> None:
    web = Web(replace_dns(shop, dns))
    try:
        desk, program = web.desk("admin"), web.program("admin")
        page = desk.get("/system/sending/").text
        assert "not signed" in page
        assert "example.com" in page
        wrong = desk.post("/system/sending/", domain="shop", algorithm="rsa")
        assert (wrong.status_code, "must be a domain such as" in wrong.text) == (400, True)
        assert desk.post("/system/sending/", domain="Example.COM", algorithm="rsa", selector="S1").status_code == 302
        (one,) = program.told("GET", "/system/sending-domains")["domains"]
        (key,) = one["keys"]
        assert (one["domain"], one["signed"], key["selector"], key["state"]) == ("example.com", False, "s1", "made")
        assert "".join(key["record"]) in desk.get("/system/sending/").text
        path = f"/system/dkim-keys/{key['id']}/activate"
        assert "no TXT record yet" in told(program.call("POST", path, {}), 409)["detail"]
        desk.post(f"/system/sending/keys/{key['id']}/activate")
        assert "no TXT record yet" in desk.get("/system/sending/").text
        dns.failing.add(key["record_name"])
        assert "does not answer" in told(program.call("POST", path, {}), 409)["detail"]
        dns.failing.clear()
        dns.text(key["record_name"], "".join(key["record"]))
        assert program.told("POST", path, {})["state"] == "active"
        assert "not signed" not in desk.get("/system/sending/").text
        assert program.told("POST", f"/system/dkim-keys/{key['id']}/retire")["state"] == "retired"
        assert program.call("POST", f"/system/dkim-keys/{key['id']}/retire").status_code == 409
        assert program.call("POST", "/system/dkim-keys/999/retire").status_code == 404
    finally:
        web.close()


def replace_dns(shop: Shop, dns: NameServer) -> Shop:
    """The shop with this name server in its settings."""
    shop.settings = replace(shop.settings, dns_servers=(dns.place,))
    return shop
