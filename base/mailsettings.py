"""The settings of mail: the relay, how it is met, what comes back, and who sends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from base.values import addresses, choice, domain, folder, host_name, name_servers, names, switch, text, url, whole


def entry(
    read: Callable[[str], Any], help_: str, shown_default: str | None = None, secret: bool = False
) -> dict[str, Any]:
    return {"read": read, "help": help_, "shown_default": shown_default, "secret": secret}


@dataclass(frozen=True, kw_only=True)
class MailSettings:
    """The part of `base.settings.Settings` that is about mail. Empty text means "not set"."""

    smtp_url: str = field(
        default="",
        repr=False,
        metadata=entry(
            url("smtp", "smtps"), "The SMTP relay: smtp://user:password@host:port (STARTTLS when offered) or smtps://."
        ),
    )
    dns_servers: tuple[str, ...] = field(
        default=(),
        metadata=entry(
            name_servers,
            "Name servers that are asked about sending domains, as addresses with commas between, `:port` behind. Not "
            "set: the machine's own.",
        ),
    )
    smtp_tls: str = field(
        default="offered",
        metadata=entry(
            choice("offered", "required"),
            "offered: the relay is spoken to in clear where it offers no TLS; required: then no mail leaves. A "
            "certificate that is not the relay's is refused in both.",
        ),
    )
    smtp_ca_file: Path | None = field(
        default=None,
        metadata=entry(
            folder, "File of the authorities that the relay's certificate may come from. Not set: the machine's own."
        ),
    )
    ehlo_name: str = field(
        default="",
        metadata=entry(
            host_name, "What senders call themselves to the relay, such as mailer.example.com.", "the address they have"
        ),
    )
    outgoing_addresses: tuple[str, ...] = field(
        default=(),
        metadata=entry(
            addresses,
            "Addresses that the relay sends from, with commas between, which SPF and PTR are checked for. Not set: "
            "those of the relay's name.",
        ),
    )
    bounce_domain: str = field(
        default="",
        metadata=entry(
            domain,
            "Domain of the envelope senders, one a mail, that bounces come back to. Not set: the mail's From address.",
        ),
    )
    bounce_listen: str = field(
        default="",
        metadata=entry(
            url("lmtp", "smtp"),
            "Where bounces and complaints are taken in: lmtp://127.0.0.1:8024 behind a mail server, or smtp://0.0.0.0:25.",
        ),
    )
    soft_bounces: int = field(
        default=5,
        metadata=entry(whole(1, 100), "After so many soft bounces within the days below no more mail goes there."),
    )
    soft_bounce_days: int = field(
        default=30, metadata=entry(whole(1, 365), "Within how many days soft bounces are counted.")
    )
    ses_topics: tuple[str, ...] = field(
        default=(), metadata=entry(names, "SNS topics (ARNs, commas between) whose SES notifications are believed.")
    )
    sendgrid_key: str = field(
        default="", metadata=entry(text, "Public key of SendGrid's signed event webhook, as its page shows it.")
    )
    mailgun_key: str = field(
        default="", repr=False, metadata=entry(text, "Signing key of Mailgun's webhooks.", secret=True)
    )
    postmark_secret: str = field(
        default="",
        repr=False,
        metadata=entry(text, "user:password that Postmark's webhook sends by HTTP Basic.", secret=True),
    )
    dry_run: bool = field(
        default=False, metadata=entry(switch, "1: every mail goes to the embedded sink, whatever the relay.")
    )
    postal_address: str = field(
        default="Example Shop, 1 Example Street, Example Town",
        metadata=entry(text, "Postal address in the foot of every mail."),
    )
    from_address: str = field(
        default="Example Shop <shop@example.com>", metadata=entry(text, "Sender of mails: Name <address>.")
    )
