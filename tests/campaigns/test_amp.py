"""The AMP part of a mail: valid by the official rules, between text and HTML, and never the only one."""

from __future__ import annotations

import email
import email.policy
import re
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any

import msgspec
import pytest

from base.errors import InvalidInput
from base.ids import Delivery
from base.tokens import Purpose, TokenKeys
from campaigns import amp, campaigns, plans, starting
from campaigns.compose import Composer
from campaigns.links import mint
from campaigns.mail import MessageIn, SlotIn, compile_mail, encode
from render.plan import decode
from tests.amprules import validate
from tests.campaigns.shop import MESSAGE, Shop
from tests.campaigns.web import Web

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
KEYS = TokenKeys({1: b"k" * 64}, 1)
ANN = Delivery(7, 3, 1)
HEAD = (
    "<mjml><mj-head><mj-style>#outlook a{padding:0} @font-face{font-family:x;src:url(https://a.example/x.woff)}"
    " .note:hover{color:red} .note > a, td.note + td { color: #333 !important; cursor: grab; mso-hide: all }"
    " @media (prefers-color-scheme:dark){.note{color:#fff !important}} @media screen and (max-width: 480px){.note{"
    "font-size:18px !important}} @import url(https://a.example/x.css);</mj-style></mj-head><mj-body>"
)
FOOT = (
    '<mj-section><mj-column><mj-text>{{ brand.postal_address }} <a href="{{ link.unsubscribe }}">Leave</a> '
    '<a href="{{ link.view }}">View</a></mj-text></mj-column></mj-section></mj-body></mjml>'
)
RICH = (
    HEAD + '<mj-hero mode="fixed-height" height="200px" background-width="600px" background-height="200px" '
    'background-url="https://shop.example.com/hero.jpg" background-color="#2a3448"><mj-text color="#ffffff">'
    "{% if profile.tier == 'gold' %}Gold &amp; <em>more</em>{% else %}Welcome{% endif %}</mj-text></mj-hero>"
    '<mj-section><mj-column width="33%"><mj-image width="150px" height="100px" alt="A &quot;shoe&quot;" '
    'href="https://shop.example.com/?a=1&amp;b=2" src="https://shop.example.com/shoe.jpg" border-radius="8px" />'
    '</mj-column><mj-column width="67%" css-class="note"><mj-table><tr><th align="left" nowrap>Size</th><td '
    'background="https://x.example/y.png">42</td></tr></mj-table><mj-text><font color="red">Now</font> <center>or'
    '</center> <a name="top" href="#top">never</a> {{ profile.tier }}</mj-text></mj-column></mj-section>'
    '<mj-section><mj-column><mj-text padding="0">{{ slot.hero }}</mj-text><mj-divider /><mj-spacer height="10px" />'
    '<mj-button href="{{ link.hero }}">To the shop</mj-button><mj-social><mj-social-element name="facebook" '
    'src="https://shop.example.com/f.png" href="https://shop.example.com/">Us</mj-social-element></mj-social>'
    '<mj-navbar base-url="https://shop.example.com"><mj-navbar-link href="/a">A</mj-navbar-link></mj-navbar>'
    "</mj-column></mj-section>" + FOOT
)
HERO = [SlotIn(index=0, name="hero", width=600, height=300, alt='What "we" have <for> you')]


def message(mjml: str, **changes: Any) -> MessageIn:
    content = {"mjml": mjml, "slots": HERO, "text": MESSAGE.text} | changes
    return msgspec.structs.replace(MESSAGE, fallbacks={"first_name": "friend", "tier": "none"}, **content)


def layouts() -> list[MessageIn]:
    """The mails a manager begins with."""
    return [
        starting.message(layout, layout.name, "Shop", "shop@example.com", "1 Example Street")
        for layout in starting.LAYOUTS
    ]


def built(content: MessageIn, base: str = "https://r.example.com", *, with_amp: bool = True, **traits: Any) -> Any:
    composer = Composer(compile_mail(content, 3, "Example", with_amp=with_amp), b"h" * 32)
    urls = mint(KEYS, base, ANN, content.slots, 2252 * 86_400, amp=with_amp)
    raw = composer.build(ANN, "ann@example.com", traits, urls, NOW).content
    return email.message_from_bytes(raw, EmailMessage, policy=email.policy.SMTP), urls


def types(mail: EmailMessage) -> list[str]:
    return [part.get_content_type() for part in mail.iter_parts()]


def part(mail: EmailMessage, kind: str) -> str:
    (found,) = (one for one in mail.iter_parts() if one.get_content_type() == kind)
    return bytes(found.get_payload(decode=True)).decode()


@pytest.mark.feature("EC-24")
def test_it_is_valid_amp_by_the_official_rules_for_every_kind_of_mail() -> None:
    contents = [MESSAGE, *layouts(), message(RICH), message(RICH, locale="ar")]
    people: list[dict[str, Any]] = [
        {}, {"first_name": '<script>"&{{ 7 }}', "tier": "gold"}, {"first_name": "山田 太郎", "tier": "x" * 400},
    ]  # fmt: skip
    mails = [built(content, **traits)[0] for content in contents for traits in people]
    documents = [part(mail, "text/x-amp-html") for mail in mails]
    for verdict in validate(documents):
        assert verdict == ("PASS", [])
    assert all("{%" not in document and "!important" not in document for document in documents)
    assert max(len(document.encode()) for document in documents) < amp.MAX_DOCUMENT
    # A rule that is broken is found: the validator is the real one.
    broken = documents[0].replace("<body", "<script>1</script><body").replace("</body>", "<img src=x></body>")
    assert validate([broken])[0].status == "FAIL"


@pytest.mark.feature("EC-24")
def test_it_stands_between_a_text_and_an_html_part_that_are_those_of_the_mail_without_it() -> None:
    for content in (MESSAGE, *layouts(), message(RICH)):
        (mail, urls), (plain, _) = built(content), built(content, with_amp=False)
        assert types(mail) == ["text/plain", "text/x-amp-html", "text/html"]
        assert types(plain) == ["text/plain", "text/html"]
        assert part(mail, "text/html") == part(plain, "text/html")
        assert part(mail, "text/plain") == part(plain, "text/plain")
        for slot in urls.slots.values():
            assert slot.picture in part(mail, "text/html")
            assert slot.amp not in part(mail, "text/html")


def test_it_says_what_the_html_says_with_the_slot_as_a_list_a_placeholder_and_a_fallback() -> None:
    mail, urls = built(message(RICH), first_name="Ann", tier="gold")
    document, ours = part(mail, "text/x-amp-html"), urls.slots[0]
    for words in (
        "Gold &amp; <em>more</em>",
        "To the shop",
        "1 Example Street",
        "Now or <a>never</a>",
        "42",
        urls.unsubscribe,
    ):
        assert words in document
    (listed,) = re.findall(r"<amp-list .*?</amp-list>", document, re.DOTALL)
    assert f'src="{ours.amp}"' in listed
    assert KEYS.read(ours.amp.rpartition("/")[2], Purpose.AMP).slot == 0
    (template,) = re.findall(r"<template.*?</template>", listed)
    assert set(re.findall(r'(\w+)="\{\{(\w+)\}\}"', template)) == {("href", "url"), ("src", "img"), ("alt", "alt")}
    alt = "What &quot;we&quot; have &lt;for&gt; you"
    assert re.search(rf'<div placeholder><a href="{ours.click}"[^>]*>{alt}</a></div>', listed)
    assert re.search(rf'<div fallback><a href="{ours.click}"[^>]*><amp-img src="{ours.picture}" alt="{alt}"', listed)
    assert "<noscript" not in document
    assert "[if mso" not in document


def test_it_keeps_the_weight_of_styles_without_the_word_that_amp_forbids() -> None:
    document = part(built(message(RICH))[0], "text/x-amp-html")
    css = document.partition("<style amp-custom>")[2].partition("</style>")[0]
    assert ".note > a:not(#_):not(#_),td.note + td:not(#_):not(#_){color:#333}" in css
    assert "@media screen and (max-width: 480px){.note:not(#_):not(#_){font-size:18px}}" in css
    for left_out in ("prefers-color-scheme", "@font-face", "@import", "mso-", "cursor", ":hover"):
        assert left_out not in css
    assert 'style="' not in document


def test_it_is_left_out_where_its_data_would_not_come_encrypted() -> None:
    assert types(built(MESSAGE, "http://127.0.0.1:8001")[0]) == ["text/plain", "text/html"]


@pytest.mark.parametrize(
    ("inside", "why"),
    [
        ('<mj-image src="https://shop.example.com/a.jpg" />', "without a width and a height"),
        ('<mj-image width="10px" height="10px" src="http://shop.example.com/a.jpg" />', "begin with https://"),
        ("<mj-raw><style>.a{color:{{ profile.tier }}}</style></mj-raw>", "prints a field within its styles"),
    ],
)
def test_it_is_refused_with_the_reason_where_somebody_would_miss_something(inside: str, why: str) -> None:
    mjml = RICH.replace("<mj-divider />", inside)
    compile_mail(message(mjml), 3, "Example")
    with pytest.raises(InvalidInput, match=why) as caught:
        compile_mail(message(mjml), 3, "Example", with_amp=True)
    assert caught.value.field == "mjml"


def test_it_is_refused_when_it_has_more_styles_than_amp_allows() -> None:
    rules = "".join(f".c{number}{{color:#00{number:04d}}}" for number in range(3700))
    mjml = RICH.replace("<mj-style>", f"<mj-style>{rules}")
    with pytest.raises(InvalidInput, match="bytes of styles; AMP allows 75000"):
        compile_mail(message(mjml), 3, "Example", with_amp=True)


def test_it_changes_nothing_of_what_mails_without_it_are_stored_as() -> None:
    assert b'"amp"' not in encode(compile_mail(MESSAGE, 3, "Example"))
    assert b'"amp"' in encode(compile_mail(MESSAGE, 3, "Example", with_amp=True))


def test_it_is_switched_on_by_the_message_page_and_names_the_senders_in_the_plan(shop: Shop, web: Web) -> None:
    campaign = shop.campaign()
    before = shop.publish(campaign)
    desk = web.desk("manager")
    form = {name: getattr(MESSAGE, name) for name in ("subject", "from_name", "postal_address", "mjml", "text")}
    form |= {"from_address": "Shop@example.com", "preheader": "Inside", "first_name": "friend", "amp": "on"}
    page = f"/campaigns/{campaign}/message"
    desk.get(page)
    unfit = MESSAGE.mjml.replace("<mj-button", '<mj-image src="https://a.example/b.jpg" /><mj-button')
    refused = desk.post(page, **form | {"mjml": unfit})
    assert (refused.status_code, "without a width and a height" in refused.text) == (400, True)
    assert desk.post(page, **form).status_code == 302
    assert 'name="amp" checked' in desk.get(page).text
    digest = shop.publish(campaign)
    with shop.sessions.begin() as session:
        assert campaigns.campaign(session, campaign).amp
        row = plans.plan(session, digest)
        assert plans.load_mail(shop.blobs, row).amp
    assert decode(shop.blobs.get(digest)).amp_senders == ("shop@example.com",)
    assert b"amp_senders" not in shop.blobs.get(before)
