"""The words for what happened, per evidence: pages and the API say what is known and never more.

A server that took a mail has not delivered it, a fetched picture has no reader yet, and a click without pictures saw
none. The table of EVIDENCE, which docs/wording.md shows, says what each phrase rests on. No phrase says that a mail was
read or opened: nothing that reaches us tells that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from campaigns import contacts, sendlimits, waves
from campaigns.channels import EMAIL
from campaigns.deliveries import NO_SMTPUTF8
from campaigns.veiling import veiled
from render.guard import FLAGS
from signals.foldevent import consented

DELIVERY_WORDS = {
    "queued": "waits to be sent",
    "claimed": "is being handed to the mail server",
    "accepted": "accepted by the mail server",
    "deferred": "put off; will be tried again",
    "failed": "refused by the mail server",
    "skipped": "not sent",
    "unknown": "handed over, outcome unknown",
}
_MESSAGE_STATES: Final = {
    "claimed": "is being handed to the gateway",
    "accepted": "accepted by the gateway",
    "failed": "refused by the gateway",
}
TOLD_STATES = ("deferred", "failed", "unknown")
"""The states in which the mail server's own words say more than ours."""
REASON_WORDS = {
    "no_address": "no e-mail address is known",
    "unsubscribed": "the customer unsubscribed",
    "suppressed": "the address bounced or complained",
    "no_consent": "there is no consent to e-mail",
    "duplicate_address": "another profile with this address got the mail",
    "held_out": "held out to measure the campaign",
    "erased": "the customer was erased",
    "address_gone": "the address is gone",
    "cancelled": "the campaign was cancelled",
    "bounced": "the address bounced",
    "unsubscribed_since": "the customer unsubscribed before it was sent",
    "suppressed_since": "the address bounced or complained before it was sent",
    "no_consent_since": "the consent was withdrawn before it was sent",
    contacts.LIMITED: "they already get as many mails as they may in this time",
    waves.HOUR_PAST: "the hour of sending was over where they are",
    contacts.ONCE: "they had a mail of this campaign within the period",
    "merged_since": "they turned out to be somebody whom another mail of the run is for",
    "ruled_out": "the campaign’s suppression rule means them",
    "converted": "they bought what it was about before it was sent",
    "converted_elsewhere": "they bought something else before it was sent",
    "ruled_out_since": "the campaign’s suppression rule meant them before it was sent",
    **{f"flag_{name}": f"flagged by the profit guard: they {words}" for name, words in FLAGS.items()},
    "relay unreachable": "our mail server could not be reached",
    "relay refuses us": "our mail server takes no mails of ours",
    NO_SMTPUTF8: "our mail server takes no address with other letters before its @ than a to z (it offers no SMTPUTF8)",
    **sendlimits.WORDS,
}
_MESSAGE_REASONS: Final = {
    "suppressed": "the number is on the list of those that get nothing",
    "bounced": "the number is gone",
    "suppressed_since": "the number was found gone before it was sent",
    "address_gone": "the number or user id is gone",
    "the address is damaged": "the number or user id is damaged",
    "duplicate_address": "another profile with this number got the message",
    "relay unreachable": "the gateway could not be reached",
    "relay refuses us": "the gateway takes no messages of ours",
}
MESSAGE_WORDS: Final = {"sms": "text message ", "push": "push message "}
"""What goes before the state of what is no mail."""
_CHANNEL_REASONS: Final = {
    "sms": {"no_address": "no phone number is known", "no_consent": "there is no consent to text messages"},
    "push": {"no_address": "no user id is known", "no_consent": "there is no consent to messages to their devices"},
}
CLASS_WORDS = {
    "person": "seen on a person's device",
    "proxy": "probably seen, through a mail provider",
    "undecided": "fetched by a device that may have done so on its own",
    "prefetch": "fetched by a machine ahead of time",
    "scanner": "fetched by a machine, a security scanner",
    "test": "test send",
    "staff": "looked at by staff",
}
EVENT_WORDS = {
    "identify": "Details given",
    "page": "Page viewed",
    "screen": "Screen viewed",
    "group": "Joined a group",
    "alias": "Accounts joined",
    "Order Completed": "Order placed",
    "Order Updated": "Order changed",
    "Order Refunded": "Order returned",
    "Order Cancelled": "Order cancelled",
    "Consent Changed": "Consent changed",
    "Call Note Added": "Call note",
    "Complaint Opened": "Complaint",
    "Complaint Closed": "Complaint settled",
    "Offer Feedback": "Corrected by support",
    "Offer Feedback Withdrawn": "Correction taken back",
}
"""How signals are called on pages; others keep the name they came with."""
KNOWN_ORDER: Final = "Known order"
"""A signal of an order that another one told of earlier."""
CLICK_WORDS = {
    "prefetch": "a machine ",
    "scanner": "a security scanner ",
    "undecided": "a person or a machine ",
    "test": "a test ",
    "staff": "staff ",
}
"""Who clicked, where it was not plainly the person."""
CHANNEL_WORDS = {"call": "offered in a call", "chat": "offered in a chat", "site": "shown on the site"}
"""Where a contact took place; of other channels their own name is told."""
SAID_WORDS = {"taken": "said yes to", "refused": "said no to"}
"""What was said in a call or a chat, which is kept beside clicks."""
LEVEL_WORDS = {
    "none": "its opens and clicks are not followed",
    "anonymous": "its opens and clicks are counted without names, so none is listed here",
}
"""Why a mail is followed by no open, by its campaign's tracking level."""
LATER_WORDS = {
    "hard": "bounced later: the address is gone",
    "soft": "bounced later: it could not be delivered",
    "delayed": "delayed on the way; a server still tries",
    "complaint": "reported as unwanted from this mailbox",
}
"""What was told of a mail after the mail server took it (signals/mailreports.py)."""
CLICKED = "seen and clicked"
"""A click of a person after a picture of that place had been shown."""
INSTEAD_WORDS: Final = {
    "last": "served what an earlier open had shown: nothing new could be decided in time",
    "default": "served the neutral picture: the chosen one was not ready in time",
    "static": "served a fixed picture: neither the chosen nor the neutral one was ready in time",
}
"""What was served in the place of what the open had chosen, by the rung of the fetch."""
EVIDENCE: Final = (
    ("ledger: the relay answered 250", DELIVERY_WORDS["accepted"]),
    ("ledger: the relay refused for good", DELIVERY_WORDS["failed"]),
    ("ledger: no answer after the final dot", DELIVERY_WORDS["unknown"]),
    ("fetch of class prefetch", CLASS_WORDS["prefetch"]),
    ("fetch of class scanner", CLASS_WORDS["scanner"]),
    ("fetch of class undecided", CLASS_WORDS["undecided"]),
    ("fetch of class proxy", CLASS_WORDS["proxy"]),
    ("fetch of class person", CLASS_WORDS["person"]),
    ("fetch of rung last, where the open decided", INSTEAD_WORDS["last"]),
    ("fetch of rung default, where the open chose", INSTEAD_WORDS["default"]),
    ("fetch of rung static", INSTEAD_WORDS["static"]),
    ("click of a person after a sight", CLICKED),
    ("click of a person, no picture loaded", "the pictures had not been loaded"),
    ("report of a bounce, the address is gone", LATER_WORDS["hard"]),
    ("report of a bounce, another reason", LATER_WORDS["soft"]),
    ("report of a delay", LATER_WORDS["delayed"]),
    ("complaint (ARF or a provider's webhook)", LATER_WORDS["complaint"]),
)
"""What is known, and what pages and API call it."""
FLAG_NAMES = {
    "service": "Costly service", "returns": "Many returns", "discount": "Only at a discount",
    "spending": "Never spends more",
}  # fmt: skip
"""What pages call the flags of the profit guard."""
_PURPOSES: Final = {
    "email": "mail", "tracking": "being followed", "profiling": "being profiled",
    "advertising": "being named to advertising channels", "sms": "text messages", "push": "messages to their devices",
}  # fmt: skip
"""What pages call the purposes of consent."""
CLICK_FLAGS = (
    ("ambiguous", "two offers were shown shortly before; which one was meant is not certain"),
    ("unseen", "the pictures had not been loaded"),
    ("unresolved", "what was shown could not be told"),
)


def state_words(channel: str) -> dict[str, str]:
    """What the states of the ledger are called, of a campaign that goes by this channel."""
    return DELIVERY_WORDS if channel == EMAIL else DELIVERY_WORDS | _MESSAGE_STATES


def reason_words(channel: str) -> dict[str, str]:
    """What the reasons of the ledger are called, of a campaign that goes by this channel."""
    return REASON_WORDS if channel == EMAIL else REASON_WORDS | _MESSAGE_REASONS | _CHANNEL_REASONS[channel]


def instead_words(served: str, decided: str) -> str:
    """What was served instead, by the rungs of a fetch and of its decision; nothing where the decision was served."""
    return "" if served == decided else INSTEAD_WORDS.get(served, "")


def event_words(name: str | None, type_: str) -> str:
    """What a signal is called on pages, with what reaches somebody masked: pages are named freely."""
    called = name or type_
    return EVENT_WORDS.get(called) or str(veiled(called))


def consent_words(properties: Mapping[str, Any]) -> str:
    """What a statement of consent says of its purposes: agreed to mail, refuses being profiled."""
    said = consented(properties).items()
    return ", ".join(
        f"{'agreed to' if granted else 'refuses'} {_PURPOSES.get(purpose, purpose)}" for purpose, granted in said
    )
