"""Mails that come back: a hard bounce and a complaint stop further mail, whoever forges one stops nothing."""

from __future__ import annotations

import smtplib

import pytest

from base.clock import pause
from base.processes import free_port
from campaigns import accounting, mailreports
from campaigns.transitions import send_test
from signals.mailreports import MailReport, Patience, Report, take
from signals.suppression import Suppression, SuppressionChange, lift
from tests.campaigns.shop import MANAGER
from tests.workers.post import DOMAIN, Post
from tests.workers.relay import HOST
from tests.workers.returns import absence, arf, dsn, prose
from tests.workers.test_sending import account
from workers import listening
from workers.listening import Listener
from workers.returned import MAX_LINES, MAX_NESTED, read


@pytest.mark.feature("OP-13")
def test_it_stops_mail_to_an_address_that_bounced_hard_and_keeps_the_evidence(post: Post) -> None:
    campaign = post.send("ann", "bob")
    sender = post.senders["ann"]
    local, _, domain = sender.partition("@")
    assert (domain, len(local) <= 64, local.islower()) == (DOMAIN, True, True)
    assert str(post.shop.profile("ann")) not in local
    assert sender != post.senders["bob"]
    for capitals in (sender, sender.upper()):
        notice = dsn(capitals, "Subject: nothing that names the mail")
        assert post.desk.take(notice, [capitals]) == ("taken" if capitals == sender else "repeated")
    (listed,) = post.rows(Suppression)
    (change,) = post.rows(SuppressionChange)
    assert (listed.reason, change.listed, change.via, change.by) == ("bounced", True, "dsn", None)
    assert change.evidence == "5.1.1, 550 5.1.1 <[address]>: Recipient address rejected: User unknown"
    # The mail server did take it: the ledger says so still, and tells what came later beside it.
    assert account(post.shop, campaign) == {"accepted": 2}
    with post.shop.sessions.begin() as session:
        counted = mailreports.counts(session, campaign)
    assert counted == {"hard": 1, "soft": 0, "delayed": 0, "complaint": 0}
    assert "accepted by the mail server; bounced later: the address is gone" in post.told("ann")
    assert any("User unknown" in line and "ann@" not in line for line in post.told("ann"))
    after = post.send()
    assert (post.reason(after, "ann"), post.reason(after, "bob")) == ("bounced", None)
    with post.shop.sessions.begin() as session:
        lift(session, listed.address_hash, post.shop.now, by="user 1", why="The mailbox was opened again")
    assert post.reason(post.send(), "ann") is None


def test_it_takes_a_complaint_whatever_of_the_mail_it_still_names(post: Post) -> None:
    post.send("ann", "bob", "cara", "dan")
    heads = {name: post.head(name) for name in ("ann", "bob", "cara", "dan")}
    lines = {name: head.split("\r\n") for name, head in heads.items()}
    only_id = "\n".join(line for line in lines["bob"] if line.startswith("Message-ID"))
    fbl = ["fbl@" + DOMAIN]
    assert post.desk.take(arf("Subject: x", mail_from=post.senders["ann"]), fbl) == "taken"
    assert post.desk.take(arf(only_id), fbl) == "unknown mail", "a Message-ID alone is not enough"
    assert post.desk.take(arf(only_id, recipient="bob@example.com"), fbl) == "taken"
    unsubscribe = "\n".join(line for line in lines["cara"] if line.startswith("List-Unsubscribe:"))
    assert post.desk.take(arf(unsubscribe), fbl) == "taken"
    assert post.desk.take(arf(heads["dan"], feedback="not-spam"), fbl) == "no report"
    # Whoever a mail was forwarded to knows its link and its Message-ID: that unsubscribes, which a consent lifts.
    assert [row.reason for row in post.rows(Suppression)] == ["complained", "unsubscribed", "unsubscribed"]
    after = post.send()
    assert {name: post.reason(after, name) for name in heads} == {
        "ann": "suppressed", "bob": "unsubscribed", "cara": "unsubscribed", "dan": None,
    }  # fmt: skip


def test_it_counts_soft_bounces_by_mail_and_gives_up_after_some(post: Post) -> None:
    soft = {"status": "5.2.2", "said": "smtp; 552 5.2.2 mailbox full"}
    post.send("ann")
    for number in range(3):
        one = dsn(post.senders["ann"], "", message_id=f"<{number}@mx>", **soft)
        assert post.desk.take(one, [post.senders["ann"]]) == "taken"
    delayed = dsn(post.senders["ann"], "", action="delayed", status="4.4.1", said="smtp; 421 4.4.1 no answer")
    assert post.desk.take(delayed, [post.senders["ann"]]) == "taken"
    assert post.rows(Suppression) == [], "three reports about one mail are one bounce"
    post.send()
    post.desk.take(dsn(post.senders["ann"], "", **soft), [post.senders["ann"]])
    assert [row.reason for row in post.rows(Suppression)] == ["bounced"]
    (change,) = post.rows(SuppressionChange)
    assert change.evidence == "2 soft bounces within 30 days; the last: 5.2.2, 552 5.2.2 mailbox full"


def test_it_finds_the_mail_of_a_report_without_a_form_or_an_envelope_sender(post: Post) -> None:
    post.send("ann", "bob", "cara")
    anywhere = [f"shop@{DOMAIN}"]
    assert post.desk.take(prose(anywhere[0], post.head("ann")), anywhere) == "taken"
    only_id = "\n".join(line for line in post.head("bob").split("\r\n") if line.startswith("Message-ID"))
    quoted = dsn(anywhere[0], only_id, recipient="bob@example.com", quoted_as="message/rfc822")
    assert post.desk.take(quoted, anywhere) == "taken"
    broken = dsn(anywhere[0], post.head("cara")).replace(b"Status: 5.1.1", b"Status: five")
    assert post.desk.take(broken, anywhere) == "taken", "the diagnostic code tells it too"
    # What is quoted here a stranger may have too who was forwarded the mail: it is no proof that an address is gone.
    assert [row.kind for row in post.rows(MailReport)] == ["soft"] * 3
    assert post.rows(Suppression) == []
    assert post.desk.take(prose(post.senders["ann"], ""), [post.senders["ann"]]) == "taken"
    assert [row.reason for row in post.rows(Suppression)] == ["bounced"]


def test_it_stops_nothing_for_what_is_forged_unknown_no_report_or_about_a_test(post: Post) -> None:
    post.send("ann", "bob")
    ann, bob = post.senders["ann"], post.senders["bob"]
    forged = bob[:9] + ("a" if bob[9] != "a" else "b") + bob[10:]
    assert post.desk.take(dsn(forged, ""), [forged]) == "forged"
    only_id = "\n".join(line for line in post.head("bob").split("\r\n") if line.startswith("Message-ID"))
    wrong = only_id.replace("@", "0@").replace(".o1.", ".o1.f")
    assert post.desk.take(dsn("x@" + DOMAIN, wrong, recipient="bob@example.com"), ["x@" + DOMAIN]) == "unknown mail"
    assert post.desk.take(absence(ann), [ann]) == "no report"
    assert post.desk.take(dsn(ann, "", action="relayed", status="2.0.0"), [ann]) == "no report"
    for junk in (b"", b"\xff\x00" * 40, b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + b"--a\r\n" * 3000):
        assert post.desk.take(junk, [ann]) == "no report"
    assert post.rows(Suppression) == []
    # Bob's report names Ann as the one who cannot be reached: his own mails stop, not hers.
    assert post.desk.take(dsn(bob, "", recipient="ann@example.com"), [bob]) == "taken"
    assert [row.address_hash for row in post.rows(Suppression)] == [
        row.address_hash for row in post.shop.ledger(1) if row.profile_id == post.shop.profile("bob")
    ]
    with post.shop.sessions.begin() as session:
        send_test(session, 1, [post.shop.profile("ann")], "me@example.com", post.shop.now, MANAGER)
    post.mail([row.id for row in post.shop.ledger(1) if row.state == "queued"])
    assert post.desk.take(dsn(post.senders["me"], ""), [post.senders["me"]]) == "taken"
    assert len(post.rows(Suppression)) == 1


def test_it_reads_deep_nesting_without_harm() -> None:
    def nested(depth: int) -> bytes:
        heads = (b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(depth))
        return b"".join(heads) + report

    report = dsn(f"x@{DOMAIN}", "")
    assert read(nested(3000)) is None
    assert read(nested(3)) is not None
    assert read(nested(MAX_NESTED)) is None, "more than any report has is not parsed"
    assert read(report + b"\r\n" * MAX_LINES) is None


def test_it_links_what_a_provider_told_of_a_message_and_an_address(post: Post) -> None:
    campaign = post.send("ann")
    (row,) = post.shop.ledger(campaign)
    with post.shop.sessions.begin() as session:
        for number, hashed in enumerate((row.address_hash, b"other")):
            told = Report(
                kind="soft", via="sendgrid", name=str(number), at=post.shop.now, address_hash=hashed,
                message_id=row.message_id,
            )  # fmt: skip
            assert take(session, told, Patience(9, 9), post.shop.now)
        assert mailreports.counts(session, campaign)["soft"] == 0
        assert mailreports.link(session) == 2
        assert mailreports.link(session) == 0
        assert mailreports.counts(session, campaign)["soft"] == 1
        assert accounting.account(session, campaign)["accepted"] == 1


@pytest.mark.parametrize("scheme", ["lmtp", "smtp"])
def test_it_listens_for_its_own_mailboxes_alone(post: Post, scheme: str) -> None:
    post.send("ann")
    port = free_port()
    listener = Listener(post.desk, scheme, HOST, port)
    listener.start()
    client: smtplib.SMTP = smtplib.LMTP(HOST, port) if scheme == "lmtp" else smtplib.SMTP(HOST, port)
    with client:
        client.ehlo()
        client.mail("")
        assert client.rcpt("ann@elsewhere.example")[0] == 550
        assert client.rcpt(f"ann@{DOMAIN}")[0] == 550
        assert client.rcpt(f"b{'a' * 53}@{DOMAIN}")[0] == 550, "nobody but us makes an envelope sender"
        assert client.rcpt(post.senders["ann"])[0] == 250
        assert client.rcpt(post.senders["ann"])[0] == 452
        assert client.data(dsn(post.senders["ann"], ""))[0] == 250
        client.mail("")
        assert client.rcpt(f"Postmaster@{DOMAIN}")[0] == 250
    listener.stop()
    assert [row.reason for row in post.rows(Suppression)] == ["bounced"]


def test_it_is_not_held_up_by_whoever_sends_without_end(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MAX_OF_ONE_HOST", 2)
    monkeypatch.setattr(listening, "NAMED_A_MINUTE", 1)
    port = free_port()
    listener = Listener(post.desk, "smtp", HOST, port)
    listener.start()
    endless, other = entered(port), entered(port)
    with pytest.raises(smtplib.SMTPConnectError, match="Too many connections"):
        smtplib.SMTP(HOST, port, timeout=30)
    for client, code in ((endless, 250), (other, 450)):
        client.ehlo()
        client.mail("")
        assert client.rcpt(f"abuse@{DOMAIN}")[0] == code
    other.close()
    assert endless.docmd("DATA")[0] == 354
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        flood(endless)
    endless.close()
    # Saying something does not make a session longer.
    monkeypatch.setattr(listening, "SESSION_SECONDS", 1)
    chatty = entered(port)
    with pytest.raises(smtplib.SMTPServerDisconnected):
        chat(chatty)
    chatty.close()
    listener.stop()


def entered(port: int) -> smtplib.SMTP:
    """A connection, once those that were closed are gone."""
    for _ in range(200):
        try:
            return smtplib.SMTP(HOST, port, timeout=30)
        except smtplib.SMTPConnectError:
            pause(0.05)
    raise AssertionError("nobody who is gone makes room")


def flood(client: smtplib.SMTP) -> None:
    """Send one line of 64 MiB."""
    assert client.sock is not None
    for _ in range(1024):
        client.sock.sendall(b"x" * 65_536)


def chat(client: smtplib.SMTP) -> None:
    """Say for ten seconds that there is nothing to say."""
    for _ in range(200):
        client.noop()
        pause(0.05)
