"""Mails that come back to whoever was erased: that they did is kept, and nothing that names anybody."""

from __future__ import annotations

import pytest
from alembic import command
from sqlalchemy import text

from base.ids import Delivery as Key
from campaigns import mailreports
from campaigns.erasure import erase_person
from signals.mailreports import MailReport, Patience, Report, take
from signals.suppression import Suppression, SuppressionChange
from tests.campaigns.shop import MANAGER
from tests.workers.post import Post
from tests.workers.returns import dsn
from workers import migration
from workers.following import Following
from workers.recorder import RecorderParts


@pytest.mark.feature("SU-13")
def test_it_keeps_of_a_mail_that_comes_back_to_whoever_was_erased_that_it_did(post: Post) -> None:
    campaign = post.send("ann", "bob")
    rows = {row.profile_id: row for row in post.shop.ledger(campaign)}
    ann, bob = (rows[post.shop.profile(name)] for name in ("ann", "bob"))
    words = "552 mailbox of Ms Quillfeather is full"
    with post.shop.sessions.begin() as session:
        for name, row in (("0", ann), ("1", bob)):  # Two that were told of before they found their mail.
            told = Report(
                kind="soft", via="sendgrid", name=name, at=post.shop.now, address_hash=row.address_hash,
                message_id=row.message_id, words=words,
            )  # fmt: skip
            assert take(session, told, Patience(9, 9), post.shop.now)
    erase_person(post.shop.intake, post.shop.blobs, ann.profile_id, post.shop.now, MANAGER)
    for name in ("ann", "bob"):
        back = dsn(post.senders[name], post.head(name), status="5.2.2", said=f"smtp; {words}")
        assert post.desk.take(back, [post.senders[name]]) == "taken"
    with post.shop.sessions.begin() as session:
        mail = Key(ann.profile_id, campaign, 1)
        told = Report(
            kind="hard", via="ses", name="2", at=post.shop.now, mail=mail, address_hash=ann.address_hash,
            message_id=ann.message_id, status="5.2.2", words=words,
        )  # fmt: skip
        assert take(session, told, Patience(9, 9), post.shop.now)
        mailreports.link(session)
        counted = mailreports.counts(session, campaign)
    assert (counted["hard"], counted["soft"]) == (1, 2)
    kept = {
        (row.profile_id == bob.profile_id, row.words, row.address_hash, row.message_id) for row in post.rows(MailReport)
    }
    assert kept == {(False, None, None, None), (True, words, bob.address_hash, bob.message_id)}
    # Mail to a dead address stops all the same; what was said of it is kept while somebody has it.
    assert {one.address_hash for one in post.rows(Suppression)} == {ann.address_hash, bob.address_hash}
    (change,) = (one for one in post.rows(SuppressionChange) if one.address_hash == ann.address_hash)
    assert (change.reason, change.evidence) == ("bounced", None)


def test_it_forgets_what_was_said_of_an_address_with_the_last_who_has_it(post: Post) -> None:
    post.send("ann", "bob", "dan")
    post.shop.people("cara", email="bob@example.com")
    words = "550 5.1.1 Mx Quillfeather is unknown"
    for name in ("ann", "bob", "dan"):
        post.desk.take(dsn(post.senders[name], "", said=f"smtp; {words}"), [post.senders[name]])
    told = f"5.1.1, {words}"

    def evidence() -> list[str | None]:
        return [one.evidence for one in sorted(post.rows(SuppressionChange), key=lambda one: one.id)]

    assert evidence() == [told, told, told]
    for erased, kept in (("ann", [None, told, told]), ("bob", [None, told, told]), ("cara", [None, None, told])):
        erase_person(post.shop.intake, post.shop.blobs, post.shop.profile(erased), post.shop.now, MANAGER)
        assert evidence() == kept
    assert [row.reason for row in post.rows(Suppression)] == ["bounced"] * 3

    # Its upgrade does so for those who were erased before, and for reports about their mails.
    with post.shop.sessions.begin() as session:
        for table, column in (("suppression_change", "evidence"), ("mail_report", "words")):
            of_dan = f"(SELECT {column} FROM {table} ORDER BY id DESC LIMIT 1)"
            session.execute(text(f"UPDATE {table} SET {column} = {of_dan}"))
    config = migration._config(post.shop.settings.database_url)
    command.downgrade(config, "0061")
    command.upgrade(config, "head")
    assert evidence() == [None, None, told]
    assert [one.words for one in sorted(post.rows(MailReport), key=lambda one: one.id)] == [None, None, words]


def test_it_unnames_a_mail_that_came_back_beside_an_erasure(post: Post) -> None:
    post.send("ann", "bob")
    rows = {row.profile_id: row for row in post.shop.ledger(1)}
    erase_person(post.shop.intake, post.shop.blobs, post.shop.profile("ann"), post.shop.now, MANAGER)
    with post.shop.sessions.begin() as session:  # As a report is that was being taken, and is committed now.
        for profile, row in rows.items():
            session.add(
                MailReport(
                    key=str(profile).encode(), kind="soft", via="dsn", at=post.shop.now, received_at=post.shop.now,
                    profile_id=profile, campaign_id=1, occurrence=1, words="Ms Quillfeather is away",
                    address_hash=row.address_hash, message_id=row.message_id,
                )
            )  # fmt: skip
    shop, bob = post.shop, post.shop.profile("bob")
    Following(RecorderParts(shop.settings, shop.sessions, shop.store, shop.blobs, shop.clock)).idle()
    kept = {row.profile_id == bob: (row.words, row.address_hash, row.message_id) for row in post.rows(MailReport)}
    assert kept == {
        True: ("Ms Quillfeather is away", rows[bob].address_hash, rows[bob].message_id), False: (None, None, None),
    }  # fmt: skip


@pytest.mark.feature("SU-13")
def test_it_keeps_no_words_of_a_report_that_finds_no_mail(post: Post) -> None:
    campaign = post.send("ann", "bob")
    rows = {row.profile_id: row for row in post.shop.ledger(campaign)}
    ann, bob = (rows[post.shop.profile(name)] for name in ("ann", "bob"))
    words = "550 5.1.1 Ms Quillfeather left"
    erase_person(post.shop.intake, post.shop.blobs, ann.profile_id, post.shop.now, MANAGER)
    # As a provider tells it: of an address alone, or with a Message-ID of ours too.
    told = [(row, row.message_id if named else None) for row in (ann, bob) for named in (True, False)]
    told.append((ann, f"<c{2**31}.o1.{'a' * 24}@shop.example>"))
    with post.shop.sessions.begin() as session:
        for number, (row, message_id) in enumerate(told):
            report = Report(
                kind="hard", via="postmark", name=str(number), at=post.shop.now, address_hash=row.address_hash,
                message_id=message_id, status="5.1.1", words=words,
            )  # fmt: skip
            assert take(session, report, Patience(9, 9), post.shop.now)
        assert mailreports.link(session) == 2
    reports = sorted(post.rows(MailReport), key=lambda one: one.id)
    kept = [(row.profile_id, row.words, row.message_id) for row in reports]
    nothing = (None, None, None)
    assert kept == [nothing, nothing, (bob.profile_id, words, bob.message_id), nothing, nothing]
    assert [row.address_hash for row in reports] == [row.address_hash for row, _ in told]
    # Why mail stops is told of whoever is there.
    evidence = {one.address_hash: one.evidence for one in post.rows(SuppressionChange)}
    assert evidence == {ann.address_hash: None, bob.address_hash: f"5.1.1, {words}"}

    # Its upgrade does so for those that are there.
    with post.shop.sessions.begin() as session:
        session.execute(
            text("UPDATE mail_report SET words = r.words, message_id = r.message_id FROM mail_report r"
                 " WHERE r.words IS NOT NULL")
        )  # fmt: skip
    config = migration._config(post.shop.settings.database_url)
    command.downgrade(config, "0068")
    command.upgrade(config, "head")
    after = [
        (row.profile_id, row.words, row.message_id) for row in sorted(post.rows(MailReport), key=lambda one: one.id)
    ]
    assert after == kept


def test_it_takes_the_evidence_that_was_committed_beside_an_erasure(post: Post) -> None:
    post.send("ann", "bob")
    hashes = {row.profile_id: row.address_hash for row in post.shop.ledger(1)}
    ann, bob = (post.shop.profile(name) for name in ("ann", "bob"))
    erase_person(post.shop.intake, post.shop.blobs, ann, post.shop.now, MANAGER)
    with post.shop.sessions.begin() as session:  # As a mail server's answer that was being noted.
        for profile in (ann, bob):
            session.add(
                SuppressionChange(
                    address_hash=hashes[profile], at=post.shop.now, listed=True, reason="bounced", via="relay",
                    evidence="550 Ms Quillfeather left",
                )
            )  # fmt: skip
    shop = post.shop
    Following(RecorderParts(shop.settings, shop.sessions, shop.store, shop.blobs, shop.clock)).idle()
    evidence = {one.address_hash: one.evidence for one in post.rows(SuppressionChange)}
    assert evidence == {hashes[ann]: None, hashes[bob]: "550 Ms Quillfeather left"}
