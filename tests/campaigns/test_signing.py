"""Signatures as receivers check them: by dkimpy, which shares no line with the signer."""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Callable

import msgspec
import pytest
from dkim.canonicalization import Relaxed
from hypothesis import given, settings
from hypothesis import strategies as st

from base.errors import InvalidInput
from campaigns.compose import Composer
from campaigns.links import mint
from campaigns.mail import compile_mail, envelope_address
from campaigns.signing import Signatures, relaxed_body
from tests.campaigns.shop import MESSAGE
from tests.campaigns.signed import Published
from tests.campaigns.test_mail import ANN, KEYS, NOW, RENDER, urls

PUBLISHED = Published()
FOLDED = msgspec.structs.replace(
    MESSAGE,
    subject="{{ profile.first_name }}: " + "ein sehr langer Betreff mit Größe und Weite " * 3,
    from_name="Möbel & Söhne für alle, die gern daheim sind und es schön haben wollen",
    text=MESSAGE.text + "\n.\n..\n.dot \t two\n\n \n\n\n",
    reply_to="answers@example.com",
)


def signed(composer: Composer, address: str = "ann@example.com", **traits: object) -> bytes:
    return composer.build(ANN, address, traits, urls(), NOW, PUBLISHED.keys).content


@pytest.fixture(scope="module")
def folded() -> Composer:
    return Composer(compile_mail(FOLDED, 3, "Example"), b"h" * 32)


def test_it_signs_with_every_key_what_receivers_find_sound(folded: Composer) -> None:
    mail = signed(folded, first_name="Zoë")
    assert b"Subject: =?utf-8?B?" in mail
    assert re.search(rb"From: =\?utf-8\?B\?[^\r]+\r\n =\?", mail), "the headers are folded"
    assert PUBLISHED.verdicts(mail) == [True, True]
    plain = Composer(compile_mail(MESSAGE, 3, "Example"), b"h" * 32)
    assert PUBLISHED.verdicts(signed(plain)) == [True, True]
    assert plain.build(ANN, "ann@example.com", {}, urls(), NOW).content.count(b"DKIM-Signature") == 0


def test_it_signs_a_mail_with_an_amp_part_and_one_to_an_international_address() -> None:
    composer = Composer(compile_mail(MESSAGE, 3, "Example", with_amp=True), b"h" * 32)
    links = mint(KEYS, RENDER, ANN, MESSAGE.slots, 2252 * 86_400, amp=True)
    mail = composer.build(ANN, "jürgen@exämple.com", {}, links, NOW, PUBLISHED.keys).content
    assert b"text/x-amp-html" in mail
    assert "To: <jürgen@xn--exmple-cua.com>".encode() in mail
    assert PUBLISHED.verdicts(mail) == [True, True]


def test_it_covers_the_headers_of_unsubscription_and_the_whole_body(folded: Composer) -> None:
    mail = signed(folded)
    for value in email.message_from_bytes(mail).get_all("DKIM-Signature", []):
        tags = {name: "".join(text.split()) for name, text in re.findall(r"(\w+)=([^;]*)", value)}
        listed = tags["h"].split(":")
        assert {"list-unsubscribe", "list-unsubscribe-post", "feedback-id", "message-id", "date"} <= set(listed)
        assert all(listed.count(name) == 2 for name in ("from", "to", "subject", "reply-to", "list-unsubscribe"))
        assert (tags["c"], tags["d"], tags["t"]) == ("relaxed/relaxed", "example.com", str(int(NOW.timestamp())))
        assert "l" not in tags
    assert max(map(len, mail.partition(b"\r\n\r\n")[0].split(b"\r\n"))) <= 998


@pytest.mark.parametrize(
    "changed",
    [
        lambda mail: mail.replace(b"List-Unsubscribe: <https://r", b"List-Unsubscribe: <https://x"),
        lambda mail: mail.replace(b"List-Unsubscribe=One-Click", b"List-Unsubscribe=Two-Click"),
        lambda mail: mail.replace(b"Feedback-ID: 3", b"Feedback-ID: 4"),
        lambda mail: mail.replace(b"\r\nSubject:", b"\r\nSubject: Win!\r\nSubject:", 1),
        lambda mail: mail.replace(b"\r\nSubject:", b"\r\nCc: eve@example.com\r\nSubject:", 1),
        lambda mail: mail + b"<a href=x>Win</a>\r\n",
    ],
)
def test_it_is_broken_by_whatever_is_changed_or_added_on_the_way(
    folded: Composer, changed: Callable[[bytes], bytes]
) -> None:
    mail = signed(folded)
    other = changed(mail)
    assert other != mail
    assert PUBLISHED.verdicts(other) == [False, False]


def test_it_outlives_what_relays_may_do_to_blanks(folded: Composer) -> None:
    mail = signed(folded).replace(b"List-Id: ", b"List-Id:   ").replace(b"\r\nTo: ", b"\r\nTO:\r\n\t")
    assert PUBLISHED.verdicts(b"Received: by relay\r\n" + mail + b"\r\n\r\n") == [True, True]


@settings(max_examples=25)
@given(name=st.text(max_size=400))
def test_it_signs_whatever_somebody_calls_themselves_and_lets_none_of_it_become_a_header(name: str) -> None:
    # The composer is that of all examples: what one leaves behind, the next would show.
    mail = signed(COMPOSER, first_name=name)
    read = email.message_from_bytes(mail, policy=email.policy.SMTP)
    assert [key for key in read.keys() if key != "DKIM-Signature"] == HEADERS  # noqa: SIM118 - a mail's keys repeat
    assert PUBLISHED.verdicts(mail) == [True, True]


@settings(max_examples=200)
@given(address=st.text(st.sampled_from('aü@. \r\n<>,"\u202e用-_:[]\x00'), max_size=40) | st.emails())
def test_it_tells_a_relay_one_address_or_none(address: str) -> None:
    try:
        told = envelope_address(address)
    except InvalidInput:
        return
    assert re.fullmatch(r"[^\s<>,\"\x00-\x20\x7f]+@[A-Za-z0-9.-]+", told)
    assert told.rpartition("@")[0] == address.rpartition("@")[0]


COMPOSER = Composer(compile_mail(FOLDED, 3, "Example"), b"h" * 32)
HEADERS = [
    "Date", "Message-ID", "To", "Subject", "List-Unsubscribe", "From", "Reply-To", "List-Unsubscribe-Post", "List-Id",
    "Feedback-ID", "Precedence", "MIME-Version", "Content-Type",
]  # fmt: skip

PIECES = st.sampled_from([b" ", b"\t", b"\r\n", b"a", b".", b"  ", b"\r\n\r\n", b"=20", b"\xc3\xa4"])


@settings(max_examples=300)
@given(pieces=st.lists(PIECES, max_size=30))
def test_it_canonicalises_a_body_as_dkimpy_does(pieces: list[bytes]) -> None:
    body = b"".join(pieces) + b"\r\n"
    assert relaxed_body(body) == Relaxed.canonicalize_body(body)


def test_it_keeps_the_hash_of_what_all_mails_share_apart_from_what_each_adds() -> None:
    signer = Signatures(PUBLISHED.keys[1:], "From: a@example.com\r\nMIME-Version: 1.0")
    first, second = (signer.headers([("Subject", text)], b"x\r\n", NOW) for text in ("one", "two"))
    assert first != second
    assert signer.headers([("Subject", "one")], b"x\r\n", NOW) == first, "Ed25519 says the same of the same"
