"""The doctor of a sending domain, put to a real name server that is right and wrong in every way it knows."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from base.environment import environment
from base.settings import Settings
from base.tokens import TokenKeys
from campaigns import dkimkeys, dmarc, spf
from campaigns.lookups import Lookups, NoAnswer
from campaigns.models.signing import DkimKey
from campaigns.sendingdoctor import Finding, examine
from tests.authority import NOW
from tests.campaigns.shop import MANAGER, Shop
from tests.campaigns.web import Web
from tests.nameserver import NameServer, name_server
from workers.commands.doctor import command

DOMAIN = "news.shop.example"
ADDRESS = "198.51.100.7"
SETTINGS = Settings(
    var=Path("var"), smtp_url="smtp://relay.example", outgoing_addresses=(ADDRESS,), render_url="http://127.0.0.1:8001"
)
TOKENS = TokenKeys({1: b"k" * 64}, 1)


def key(domain: str = DOMAIN, algorithm: str = "rsa", state: str = "active", public: str = "AAAA") -> DkimKey:
    return DkimKey(domain=domain, selector=f"{state}-{algorithm}", algorithm=algorithm, public=public, state=state)


@pytest.fixture
def dns() -> Iterator[NameServer]:
    """A name server that says of the domain what it should."""
    with name_server() as server:
        for one in (key(), key(algorithm="ed25519")):
            server.text(dkimkeys.record(one).name, dkimkeys.record(one).value)
        server.text(DOMAIN, "site-verification=1", "v=spf1 include:spf.relay.example ~all")
        server.text("spf.relay.example", f"v=spf1 ip4:{ADDRESS}/31 -all")
        server.text("_dmarc.shop.example", "v=DMARC1; p=none; sp=quarantine; rua=mailto:d@shop.example")
        server.put("7.100.51.198.in-addr.arpa", "PTR", "mail.relay.example.")
        server.put("mail.relay.example", "A", ADDRESS)
        server.put("relay.example", "A", ADDRESS)
        yield server


def found(
    dns: NameServer, keys: tuple[DkimKey, ...] = (key(), key(algorithm="ed25519")), settings: Settings = SETTINGS
) -> dict[str, Finding]:
    return {one.check: one for one in examine(DOMAIN, keys, settings, Lookups([dns.place]), TOKENS, NOW)}


def test_it_finds_a_sound_domain_well(dns: NameServer) -> None:
    seen = found(dns)
    assert {check: one.well for check, one in seen.items()} == {
        "dkim": True, "spf": True, "dmarc": True, "ptr": True, "one-click": None,
    }  # fmt: skip
    assert "active-rsa and active-ed25519" in seen["dkim"].words
    assert ADDRESS in seen["spf"].words
    assert "p=quarantine; mails are aligned by DKIM and SPF." in seen["dmarc"].words
    assert all(one.publish is None and one.asked_by for one in seen.values())


Change = Callable[[NameServer], object]


@pytest.mark.parametrize(
    ("check", "change", "words", "publish"),
    [
        ("dkim", lambda dns: dns.text(f"active-rsa._domainkey.{DOMAIN}"), "no TXT record yet", "p=AAAA"),
        ("spf", lambda dns: dns.text(DOMAIN), "has no SPF record", f"v=spf1 ip4:{ADDRESS} ~all"),
        ("spf", lambda dns: dns.text(DOMAIN, "v=spf1 a -all"), "says fail", f"v=spf1 ip4:{ADDRESS} a -all"),
        ("spf", lambda dns: dns.text(DOMAIN, "v=spf1 ?all"), "says neutral", f"v=spf1 ip4:{ADDRESS} ?all"),
        ("spf", lambda dns: dns.text(DOMAIN, "v=spf1 +all"), "lets everybody send", None),
        ("spf", lambda dns: dns.text(DOMAIN, "v=spf1 -all", "v=spf1 ~all"), "is there 2 times", None),
        ("spf", lambda dns: dns.text(DOMAIN, f"v=spf1 include:{DOMAIN} -all"), "more than 10 times", None),
        ("spf", lambda dns: dns.text(DOMAIN, "v=spf1 include:none.example -all"), "includes none.example", None),
        ("spf", lambda dns: dns.text(DOMAIN, "v=spf1 ip4:1.2.3 -all"), "which is no network", None),
        ("spf", lambda dns: dns.text(DOMAIN, "v=spf1 ipv4:1.2.3.4 -all"), "which is no mechanism", None),
        ("dmarc", lambda dns: dns.text("_dmarc.shop.example"), "has no DMARC record", "v=DMARC1; p=none; rua=mailto:"),
        ("dmarc", lambda dns: dns.text(f"_dmarc.{DOMAIN}", "v=DMARC1; p=maybe"), "p=maybe", None),
        ("dmarc", lambda dns: dns.text(f"_dmarc.{DOMAIN}", "v=DMARC1", "v=DMARC1; p=none"), "2 DMARC records", None),
        ("ptr", lambda dns: dns.put("7.100.51.198.in-addr.arpa", "PTR"), "has no name", None),
        ("ptr", lambda dns: dns.put("mail.relay.example", "A", "192.0.2.1"), "does not lead back", None),
    ],
)
def test_it_says_what_is_wrong_and_what_to_publish(
    dns: NameServer, check: str, change: Change, words: str, publish: str | None
) -> None:
    change(dns)
    one = found(dns)[check]
    assert (one.well, words in one.words) == (False, True), one.words
    assert publish in one.publish.value if one.publish is not None and publish else publish is None


@pytest.mark.parametrize("name", [f"active-rsa._domainkey.{DOMAIN}", DOMAIN, "_dmarc.shop.example"])
def test_it_takes_no_answer_for_no_verdict(dns: NameServer, name: str) -> None:
    dns.failing.add(name)
    silent = [one for one in found(dns).values() if "does not answer" in one.words]
    assert [one.well for one in silent] == [None]


def test_it_says_whose_mails_leave_unsigned_and_which_record_would_change_that(dns: NameServer) -> None:
    assert "leave unsigned: make a key" in found(dns, ())["dkim"].words
    made = found(dns, (key(state="made"),))["dkim"]
    assert made.publish is not None
    assert made.publish.name == f"made-rsa._domainkey.{DOMAIN}"
    assert "many receivers do not check" in found(dns, (key(algorithm="ed25519"),))["dkim"].words
    assert "aligned by SPF." in found(dns, ())["dmarc"].words
    kept = key(state="kept")
    assert found(dns, (key(), kept))["dkim"].publish == dkimkeys.record(kept), "mails on their way name it"


def test_it_tells_alignment_as_receivers_do(dns: NameServer) -> None:
    elsewhere = replace(SETTINGS, bounce_domain="bounce.relay.example")
    assert "aligned by DKIM." in found(dns, settings=elsewhere)["dmarc"].words
    assert "is aligned with" in found(dns, (), elsewhere)["dmarc"].words
    above = (key("shop.example"),)
    dns.text(dkimkeys.record(above[0]).name, dkimkeys.record(above[0]).value)
    assert "aligned by DKIM." in found(dns, above, elsewhere)["dmarc"].words
    dns.text("_dmarc.shop.example", "v=DMARC1; p=reject; adkim=s; aspf=s; rua=mailto:d@shop.example")
    assert "is aligned with" in found(dns, above, elsewhere)["dmarc"].words
    assert "aligned by DKIM." in found(dns, (key(),), elsewhere)["dmarc"].words
    lookups = Lookups([dns.place])
    dns.text("_dmarc.example", "v=DMARC1; p=none; psd=y")
    policy = dmarc.policy(lookups, "a.b.other.example")
    assert policy is not None
    assert (policy.domain, policy.organisation, policy.has_reports) == ("example", "other.example", False)


def test_it_cannot_tell_where_the_relay_sends_from_if_it_is_not_told(dns: NameServer) -> None:
    for url in ("smtp://127.0.0.1", "smtp://10.0.0.1"):
        seen = found(dns, settings=replace(SETTINGS, smtp_url=url, outgoing_addresses=()))
        assert (seen["spf"].well, seen["ptr"].well) == (None, None)
        assert "LATEBIND_OUTGOING_ADDRESSES" in seen["spf"].words
    dns.put("relay.example", "A", "1.1.1.1")
    assert "1.1.1.1" in found(dns, settings=replace(SETTINGS, outgoing_addresses=()))["spf"].words


def test_it_evaluates_spf_as_the_standard_says(dns: NameServer) -> None:
    dns.put("a.example", "A", "192.0.2.1")
    dns.put("a.example", "AAAA", "2001:db8::1")
    dns.put("m.example", "MX", "10 a.example.")
    for record, address, result in (
        ("v=spf1 a:a.example -all", "192.0.2.1", "pass"),
        ("v=spf1 a:a.example -all", "2001:db8::1", "pass"),
        ("v=spf1 a:a.example/24//64 -all", "192.0.2.99", "pass"),
        ("v=spf1 a:a.example/24//64 -all", "2001:db8::ff", "pass"),
        ("v=spf1 mx:m.example ~all", "192.0.2.1", "pass"),
        ("v=spf1 mx:m.example ~all", "192.0.2.2", "softfail"),
        ("v=spf1 -ip4:192.0.2.0/24 +all", "192.0.2.2", "fail"),
        ("v=spf1 ip6:2001:db8::/32 -all", "2001:db8:5::1", "pass"),
        ("v=spf1 redirect=spf.relay.example", ADDRESS, "pass"),
        ("v=spf1 redirect=spf.relay.example", "192.0.2.1", "fail"),
        ("V=SPF1 IP4:192.0.2.1 exp=why.example x-note=1 -ALL", "192.0.2.1", "pass"),
        ("v=spf10 +all", "192.0.2.1", "none"),
        ("v=spf1 exists:%{i}.x.example -all", "192.0.2.1", "fail"),
    ):
        dns.text("x.example", record)
        evaluation = spf.Evaluation(Lookups([dns.place]))
        assert evaluation.result("x.example", ipaddress.ip_address(address)) == result, (record, address)
    assert evaluation.passed_over == ["exists"]
    dns.failing.add("x.example")
    with pytest.raises(NoAnswer):
        spf.record(Lookups([dns.place]), "x.example")


def test_it_is_shown_on_a_page_by_the_api_and_at_the_command_line(shop: Shop, dns: NameServer) -> None:
    shop.settings = replace(
        shop.settings, dns_servers=(dns.place,), outgoing_addresses=(ADDRESS,), smtp_url="smtp://relay.example"
    )
    with shop.sessions.begin() as session:
        dkimkeys.make(session, DOMAIN, "ed25519", shop.settings.subject_key, shop.now, MANAGER, "s1")
    web = Web(shop)
    try:
        page = web.desk("admin").get(f"/system/sending/{DOMAIN}").text
        assert "leave unsigned" in page
        assert f"s1._domainkey.{DOMAIN}" in page
        assert f'href="/system/sending/{DOMAIN}"' in web.desk("admin").get("/system/sending/").text
        told = web.program("admin").told("GET", f"/system/sending-domains/{DOMAIN}")
        assert [(one["check"], one["well"]) for one in told["checks"]] == [
            ("dkim", False), ("spf", True), ("dmarc", True), ("ptr", True), ("one-click", None),
        ]  # fmt: skip
        assert told["checks"][0]["record_name"] == f"s1._domainkey.{DOMAIN}"
        assert web.program("admin").call("GET", "/system/sending-domains/shop").status_code == 400
    finally:
        web.close()
    done = CliRunner().invoke(command, ["--domain", DOMAIN], env=environment(shop.settings))
    assert (done.exit_code, f"WRONG  dkim: Mails from {DOMAIN} leave unsigned" in done.output) == (1, True), done.output
    assert f"s1._domainkey.{DOMAIN}. 3600 IN TXT" in done.output
