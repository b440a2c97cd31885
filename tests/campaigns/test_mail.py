"""The mail: what leaves, byte by byte, as an e-mail program reads it."""

from __future__ import annotations

import email
import email.policy
import re
from datetime import UTC, datetime
from email.message import EmailMessage
from html.parser import HTMLParser

import msgspec
import pytest

from base.errors import InvalidInput
from base.ids import Delivery
from base.tokens import Purpose, TokenKeys
from campaigns.compose import Composer
from campaigns.links import MailUrls, mint
from campaigns.mail import MAX_HTML, MessageIn, compile_mail, decode, encode, view_template
from tests.campaigns.shop import MESSAGE

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
KEYS = TokenKeys({1: b"k" * 64}, 1)
RENDER = "https://r.example.com"
ANN = Delivery(7, 3, 1)


def composer(message: MessageIn = MESSAGE) -> Composer:
    return Composer(compile_mail(message, 3, "Example"), b"h" * 32)


def urls(delivery: Delivery = ANN, *, neutral: bool = False) -> MailUrls:
    return mint(KEYS, RENDER, delivery, MESSAGE.slots, 2252 * 86_400, neutral=neutral)


def built(message: MessageIn = MESSAGE, **traits: object) -> tuple[bytes, EmailMessage]:
    raw = composer(message).build(ANN, "ann@example.com", traits, urls(), NOW).content
    return raw, email.message_from_bytes(raw, policy=email.policy.SMTP)


def part(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


class Reader(HTMLParser):
    """What a reader without pictures has: texts, alternative texts, links; and the pictures' attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.links: list[str] = []
        self.pictures: list[dict[str, str]] = []
        self.sources: list[dict[str, str]] = []
        self._silent = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._silent += tag in ("style", "title")
        if tag == "a":
            self.links.append(values["href"])
        elif tag == "img":
            self.pictures.append(values)
            self.texts.append(values.get("alt", ""))
        elif tag == "source":
            self.sources.append(values)

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in ("style", "title")

    def handle_data(self, data: str) -> None:
        if not self._silent and data.strip():
            self.texts.append(" ".join(data.split()))


@pytest.mark.feature("EC-17")
def test_it_makes_sense_without_pictures_and_as_plain_text() -> None:
    _, mail = built(first_name="Ann")
    seen = Reader(part(mail, "html"))
    told = " ".join(seen.texts)
    for words in ("Hello Ann,", "Your offer of the week", "Something that goes with it", "To the shop", "Unsubscribe",
                  "view in the browser", "Example, 1 Example Street, Example Town."):  # fmt: skip
        assert words in told
    assert all(picture["alt"].strip() for picture in seen.pictures)
    text = part(mail, "plain")
    addresses = urls()
    for words in ("Hello Ann,", addresses.slots[0].click, addresses.view, addresses.unsubscribe, "1 Example Street"):
        assert words in text
    assert "{{" not in text + told
    assert "<" not in text
    assert [item.get_content_type() for item in mail.iter_parts()] == ["text/plain", "text/html"]


def test_it_fixes_size_alt_link_and_dark_picture_of_each_slot() -> None:
    _, mail = built(first_name="Ann")
    seen = Reader(part(mail, "html"))
    for slot, picture, source in zip(MESSAGE.slots, seen.pictures, seen.sources, strict=True):
        ours = urls().slots[slot.index]
        assert (picture["src"], source["srcset"]) == (ours.picture, ours.dark)
        assert (picture["width"], picture["height"], picture["alt"]) == (str(slot.width), str(slot.height), slot.alt)
        assert source["media"] == "(prefers-color-scheme: dark)"
        assert ours.click in seen.links
        assert KEYS.read(ours.picture.rpartition("/")[2].removesuffix(".jpg"), Purpose.PICTURE).width == slot.width


@pytest.mark.feature("EC-06")
def test_it_shares_no_address_between_recipients_sends_or_blocks() -> None:
    deliveries = [Delivery(profile, campaign, run) for profile in range(1, 60) for campaign in (1, 2) for run in (1, 2)]
    one = composer()
    found = []
    for delivery in deliveries:
        places = "\n".join(slot.html for slot in urls(delivery).slots.values())
        found += re.findall(r'https://r\.example\.com/[^\s"<>]+', one.html({}, urls(delivery)) + places)
    # A click's address stands twice in the mail, at the picture and at the button of the same block.
    # Each mail has one link more that no reader sees.
    per_mail = 2 * 3 + 2 + 2 + 1
    assert len(set(found)) == len(deliveries) * per_mail
    again = [mint(KEYS, RENDER, delivery, MESSAGE.slots, 2252 * 86_400) for delivery in deliveries]
    assert again == [urls(delivery) for delivery in deliveries]
    assert not {str(urls(ANN))} & {str(urls(ANN, neutral=True))}


def test_it_hides_one_link_from_every_reader_and_from_its_page() -> None:
    _, mail = built()
    link = urls().trap
    page = part(mail, "html")
    (tag,) = re.findall(f'<a [^>]*href="{re.escape(link)}"[^>]*></a>', page)
    for mark in ('aria-hidden="true"', 'tabindex="-1"', "display:none", "mso-hide:all", 'rel="nofollow"'):
        assert mark in tag
    assert page.count(link) == 1
    assert link not in part(mail, "plain")
    assert "trap" not in view_template(compile_mail(MESSAGE, 3, "Example"))
    with pytest.raises(InvalidInput, match=r"reads link\.trap"):
        compile_mail(msgspec.structs.replace(MESSAGE, text=MESSAGE.text + "{{ link.trap }}"), 3, "Example")


def test_it_carries_the_headers_that_bulk_mail_needs() -> None:
    raw, mail = built(first_name="Ann")
    token = urls().unsubscribe
    assert mail["List-Unsubscribe"] == f"<{token}>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["To"] == "ann@example.com"
    assert mail["From"] == "Example Shop <shop@example.com>"
    assert mail["Subject"] == "Ann, your week"
    assert mail["Date"].datetime == NOW
    assert re.fullmatch(r"3:en:mail:[a-z0-9]{5,15}", mail["Feedback-ID"])
    assert all(len(mail.get_all(name) or []) == 1 for name in set(mail.keys()))
    assert max(len(line) for line in raw.split(b"\r\n")) < 998
    assert raw.count(b"\n") == raw.count(b"\r\n")


def test_it_names_a_delivery_by_the_same_id_at_every_attempt_and_nobody_by_address() -> None:
    first = composer().build(ANN, "ann@example.com", {}, urls(), NOW)
    second = composer().build(ANN, "ann@example.com", {"first_name": "Ann"}, urls(), NOW.replace(day=9))
    other = composer().build(Delivery(8, 3, 1), "bob@example.com", {}, urls(), NOW)
    assert first.message_id == second.message_id != other.message_id
    assert "ann" not in first.message_id
    assert re.fullmatch(r"<c3\.o1\.[0-9a-f]{24}@example\.com>", first.message_id)


@pytest.mark.parametrize(
    "name",
    [
        "Ann\r\nBcc: everybody@example.com", "Ann\nX: y", "<b>Ann</b>", '"Ann" <eve@example.com>', "Ann\u202e\u2066",
        "A" * 5_000,
        "{{ 7*7 }}", "=?utf-8?q?Eve?=", "\x00\x1b[31mAnn", "…\u2028Ann", "山田 太郎", "Ζωή & Söhne",
    ],
)  # fmt: skip
def test_it_lets_no_value_out_of_its_place(name: str) -> None:
    raw, mail = built(first_name=name)
    plain_raw, plain = built(first_name="Ann")
    assert mail.keys() == plain.keys()
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    assert re.findall(r"<[a-z]+", part(mail, "html")) == re.findall(r"<[a-z]+", part(plain, "html"))
    assert mail["To"] == "ann@example.com"
    shown = Reader(part(mail, "html")).texts
    assert not {"\x00", "\x1b", "\u202e", "\u2066"} & set("".join(shown))
    if name in ("山田 太郎", "Ζωή & Söhne"):
        assert mail["Subject"] == f"{name}, your week"
        assert f"Hello {name}," in shown
    assert plain_raw.isascii()
    assert raw.isascii()


def test_it_uses_the_fallback_for_who_has_no_name() -> None:
    for traits in ({}, {"first_name": ""}, {"first_name": "  "}, {"first_name": True}):
        _, mail = built(**traits)
        assert mail["Subject"] == "friend, your week"
        assert "Hello friend," in Reader(part(mail, "html")).texts


def test_it_hands_over_to_no_odd_address() -> None:
    odd = [
        "ann", "a b@example.com", "ann@example.com\r\nRCPT TO:<x>", "<ann@example.com>", "ann@", "@x.y",
        "ann@example.com,bob@example.com", "a" * 70 + "@example.com", "jürgen\r\nBcc: x@example.com",
        "jür gen@example.com", "j\u202eü@example.com", "ü" * 33 + "@example.com", "ann@xn--ä.com", "ann@\u2488com",
        "ann@ä..com", "ann@ä" + "ä" * 70 + ".com", "ann@[127.0.0.1]", "ann@-ä.com",
    ]  # fmt: skip
    for address in odd:
        with pytest.raises(InvalidInput, match="address"):
            composer().build(ANN, address, {}, urls(), NOW)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("ann@example.com", "ann@example.com"),
        ("ann@EXÄMPLE.com", "ann@xn--exmple-cua.com"),
        ("ann@straße.example", "ann@xn--strae-oqa.example"),
        ("用户@例え.jp", "用户@xn--r8jz45g.jp"),
        ("jürgen@example.com", "jürgen@example.com"),
        ("o'neil+news@example.com", "o'neil+news@example.com"),
    ],
)
def test_it_tells_relays_an_international_domain_by_its_a_labels(address: str, told: str) -> None:
    mail = composer().build(ANN, address, {}, urls(), NOW)
    assert mail.recipient == told
    assert f"\r\nTo: <{told}>\r\n".encode() in mail.content
    assert mail.content.isascii() == told.isascii()


def test_it_stays_below_what_clients_clip() -> None:
    words = "word " * 16_000
    large = msgspec.structs.replace(MESSAGE, mjml=MESSAGE.mjml.replace("Hello", words))
    mail = composer(large)
    assert 85_000 < len(mail.html({}, urls()).encode()) < MAX_HTML


def test_it_reads_back_what_it_stored_and_refuses_what_it_did_not() -> None:
    mail = compile_mail(MESSAGE, 3, "Example")
    assert decode(encode(mail)) == mail
    for data in (b"", b"{}", encode(mail).replace(b'"version":1', b'"version":9')):
        with pytest.raises(InvalidInput):
            decode(data)


def test_it_writes_fallbacks_and_brand_into_the_page_of_the_mail() -> None:
    page = view_template(compile_mail(MESSAGE, 3, "Example"))
    assert '(profile.first_name|default("friend"))' in page
    assert "brand." not in page
    assert "message." not in page
    assert set(re.findall(r"\{\{ \(?(\w+)\.", page)) == {"profile", "link", "url"}
