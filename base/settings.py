"""Settings: one table, read once from the environment, handed down explicitly.

The fields of `Settings` are the table: each carries its default, how its text is read, and its help line.
The variable of a field is its name in capitals behind `LATEBIND_`. A bad value stops the start, and the message names
the variable.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from base.errors import SettingError
from base.values import (
    KEY_BYTES,
    addresses,
    blob_address,
    brand_urls,
    choice,
    domain,
    folder,
    host_name,
    key,
    level,
    name_servers,
    names,
    networks,
    switch,
    text,
    token_keys,
    url,
    whole,
)

PREFIX = "LATEBIND_"


def _entry(
    read: Callable[[str], Any], help_: str, shown_default: str | None = None, secret: bool = False
) -> dict[str, Any]:
    return {"read": read, "help": help_, "shown_default": shown_default, "secret": secret}


_PORT = whole(1, 65535)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be set. Empty text means "not set"."""

    var: Path = field(
        default=Path("var"), metadata=_entry(folder, "Folder for everything Latebind keeps on this machine.", "./var")
    )
    database_url: str = field(
        default="",
        repr=False,
        metadata=_entry(
            url("postgresql", "postgresql+psycopg"),
            "PostgreSQL 15 or newer. Not set: the embedded server under `var`.",
        ),
    )
    redis_url: str = field(
        default="",
        repr=False,
        metadata=_entry(
            url("redis", "rediss", "valkey", "valkeys", "unix"),
            "Valkey or Redis 7.2 or newer, append-only file on. Not set: the embedded server under `var`.",
        ),
    )
    queue_url: str = field(
        default="",
        repr=False,
        metadata=_entry(
            url("redis", "rediss", "valkey", "valkeys", "unix"),
            "Valkey for the job queues, never a cluster.",
            "as `LATEBIND_REDIS_URL`",
        ),
    )
    smtp_url: str = field(
        default="",
        repr=False,
        metadata=_entry(
            url("smtp", "smtps"), "The SMTP relay: smtp://user:password@host:port (STARTTLS when offered) or smtps://."
        ),
    )
    dns_servers: tuple[str, ...] = field(
        default=(),
        metadata=_entry(
            name_servers,
            "Name servers that are asked about sending domains, as addresses with commas between, `:port` behind. Not "
            "set: the machine's own.",
        ),
    )
    smtp_tls: str = field(
        default="offered",
        metadata=_entry(
            choice("offered", "required"),
            "offered: the relay is spoken to in clear where it offers no TLS; required: then no mail leaves. A "
            "certificate that is not the relay's is refused in both.",
        ),
    )
    smtp_ca_file: Path | None = field(
        default=None,
        metadata=_entry(
            folder, "File of the authorities that the relay's certificate may come from. Not set: the machine's own."
        ),
    )
    ehlo_name: str = field(
        default="",
        metadata=_entry(
            host_name, "What senders call themselves to the relay, such as mailer.example.com.", "the address they have"
        ),
    )
    outgoing_addresses: tuple[str, ...] = field(
        default=(),
        metadata=_entry(
            addresses,
            "Addresses that the relay sends from, with commas between, which SPF and PTR are checked for. Not set: "
            "those of the relay's name.",
        ),
    )
    blob_url: str = field(
        default="",
        metadata=_entry(blob_address, "Folder of the content-addressed store.", "`blobs` under `LATEBIND_VAR`"),
    )
    clock_file: Path | None = field(
        default=None,
        metadata=_entry(
            folder, "File of the stepped clock shared by all processes (demo, tests). Not set: the system clock."
        ),
    )
    web_url: str = field(
        default="",
        metadata=_entry(url("http", "https"), "Public address of the pages and API.", "bind address and port"),
    )
    render_url: str = field(
        default="",
        metadata=_entry(
            url("http", "https"), "Public address of pictures and links in mails.", "bind address and port"
        ),
    )
    brand_urls: Mapping[str, str] = field(
        default_factory=dict,
        metadata=_entry(
            brand_urls,
            "Brands whose mails have an address of their own, not the one above: `brand=https://…`, commas between.",
        ),
    )
    signals_url: str = field(
        default="",
        metadata=_entry(url("http", "https"), "Public address of the signals intake.", "bind address and port"),
    )
    bind: str = field(default="127.0.0.1", metadata=_entry(text, "Address the apps listen on."))
    web_port: int = field(default=8000, metadata=_entry(_PORT, "Port of the pages and API."))
    render_port: int = field(default=8001, metadata=_entry(_PORT, "Port of the render app."))
    signals_port: int = field(default=8002, metadata=_entry(_PORT, "Port of the signals intake."))
    smtp_port: int = field(default=8025, metadata=_entry(_PORT, "Port of the embedded mail sink."))
    inbox_port: int = field(default=8026, metadata=_entry(_PORT, "Port of the embedded inbox pages."))
    postgres_port: int = field(default=8432, metadata=_entry(_PORT, "Port of the embedded PostgreSQL."))
    valkey_port: int = field(default=8379, metadata=_entry(_PORT, "Port of the embedded Valkey."))
    token_keys: Mapping[int, bytes] = field(
        default_factory=dict,
        repr=False,
        metadata=_entry(
            token_keys,
            "Keys of the tokens in mails, `id:128 hex digits`, with commas between; the last one mints, all are read.",
            secret=True,
        ),
    )
    record_key: bytes = field(
        default=b"", repr=False, metadata=_entry(key(KEY_BYTES), "Seals the record stream and the spool.", secret=True)
    )
    subject_key: bytes = field(
        default=b"",
        repr=False,
        metadata=_entry(key(KEY_BYTES), "Wraps the per-person keys; the render app does not get it.", secret=True),
    )
    session_key: bytes = field(
        default=b"",
        repr=False,
        metadata=_entry(key(KEY_BYTES), "Signs the sign-in cookies of the pages.", secret=True),
    )
    hash_key: bytes = field(
        default=b"",
        repr=False,
        metadata=_entry(key(KEY_BYTES), "Keys the hashes by which identifiers are looked up.", secret=True),
    )
    deadline_ms: int = field(
        default=250, metadata=_entry(whole(20, 60_000), "Longest time to answer a picture, in ms.")
    )
    spool_mb: int = field(
        default=256,
        metadata=_entry(
            whole(1, 100_000),
            "What records of opens may take on local disk while Valkey is away, in MB; beyond it pictures are static.",
        ),
    )
    score_hours: int = field(
        default=24,
        metadata=_entry(
            whole(0, 8_760),
            "How often, in hours, traits of people are computed anew once somebody asked for that; 0: never.",
        ),
    )
    keep_days: int = field(
        default=400,
        metadata=_entry(
            whole(90, 36_500), "How long it is kept what people were shown and why, with the very bytes, in days."
        ),
    )
    keep_machine_days: int = field(
        default=90,
        metadata=_entry(
            whole(14, 36_500),
            "How long fetches and clicks of machines are kept, in days; no longer than the above.",
        ),
    )
    keep_test_days: int = field(
        default=30,
        metadata=_entry(
            whole(1, 36_500), "How long fetches and clicks of tests and staff are kept, in days; the same holds."
        ),
    )
    retrain_days: int = field(
        default=0,
        metadata=_entry(
            whole(0, 365),
            "How often a model is trained by the schedule, in days; it then goes into the shadow of campaigns that a "
            "model decides. 0: never.",
        ),
    )
    learn_decisions: int = field(
        default=1_000_000,
        metadata=_entry(
            whole(1_000, 20_000_000),
            "How many decisions of the last half year a training learns from, at most; of more an even part, drawn by "
            "lot. A showing takes some 220 bytes of memory.",
        ),
    )
    dask_url: str = field(
        default="",
        metadata=_entry(
            url("tcp", "tls"),
            "Scheduler of a Dask cluster that trees are fitted on, such as tcp://10.0.0.5:8786. Whoever reaches it can "
            "run code on its machines and on this one. Not set: this machine.",
        ),
    )
    hold_seconds: int = field(
        default=3600,
        metadata=_entry(whole(0, 604_800), "How long a decision holds while nothing changed, in seconds."),
    )
    bounce_domain: str = field(
        default="",
        metadata=_entry(
            domain,
            "Domain of the envelope senders, one a mail, that bounces come back to. Not set: the mail's From address.",
        ),
    )
    bounce_listen: str = field(
        default="",
        metadata=_entry(
            url("lmtp", "smtp"),
            "Where bounces and complaints are taken in: lmtp://127.0.0.1:8024 behind a mail server, or smtp://0.0.0.0:25.",
        ),
    )
    soft_bounces: int = field(
        default=5,
        metadata=_entry(whole(1, 100), "After so many soft bounces within the days below no more mail goes there."),
    )
    soft_bounce_days: int = field(
        default=30, metadata=_entry(whole(1, 365), "Within how many days soft bounces are counted.")
    )
    ses_topics: tuple[str, ...] = field(
        default=(), metadata=_entry(names, "SNS topics (ARNs, commas between) whose SES notifications are believed.")
    )
    sendgrid_key: str = field(
        default="", metadata=_entry(text, "Public key of SendGrid's signed event webhook, as its page shows it.")
    )
    mailgun_key: str = field(
        default="", repr=False, metadata=_entry(text, "Signing key of Mailgun's webhooks.", secret=True)
    )
    postmark_secret: str = field(
        default="",
        repr=False,
        metadata=_entry(text, "user:password that Postmark's webhook sends by HTTP Basic.", secret=True),
    )
    instance: str = field(
        default="", metadata=_entry(text, "Name of this installation, the same on all its hosts.", "made under `var`")
    )
    dry_run: bool = field(
        default=False, metadata=_entry(switch, "1: every mail goes to the embedded sink, whatever the relay.")
    )
    fetch_loopback: bool = field(
        default=False,
        metadata=_entry(
            switch,
            "1: product pictures may be fetched from this machine too, on any port; for tests and the demo only.",
        ),
    )
    trusted_proxies: tuple[str, ...] = field(
        default=(),
        metadata=_entry(
            networks,
            "Balancers before the apps, as CIDRs with commas between; only their X-Forwarded-For is believed.",
        ),
    )
    address_ranges: Path | None = field(
        default=None,
        metadata=_entry(
            folder, "File of known address ranges for fetch classes (docs/fetch-classes.md). Not set: none are known."
        ),
    )
    render_workers: int = field(
        default_factory=lambda: os.cpu_count() or 1,
        metadata=_entry(whole(1, 256), "Processes of the render app.", "number of cores"),
    )
    render_threads: int = field(default=4, metadata=_entry(whole(1, 64), "Threads of each render process."))
    web_workers: int = field(default=1, metadata=_entry(whole(1, 256), "Processes of the pages and API."))
    signals_workers: int = field(default=1, metadata=_entry(whole(1, 256), "Processes of the signals intake."))
    signals_threads: int = field(
        default=32, metadata=_entry(whole(4, 256), "Threads of each signals process; half may hold batches that wait.")
    )
    pin_cpus: bool = field(
        default=False, metadata=_entry(switch, "1: pin each app process to one core; for hosts that run one app only.")
    )
    log_level: str = field(default="info", metadata=_entry(level, "debug, info, warning or error."))
    log_format: str = field(default="json", metadata=_entry(text, "json, or console for a person at a terminal."))
    postal_address: str = field(
        default="Example Shop, 1 Example Street, Example Town",
        metadata=_entry(text, "Postal address in the foot of every mail."),
    )
    from_address: str = field(
        default="Example Shop <shop@example.com>", metadata=_entry(text, "Sender of mails: Name <address>.")
    )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], require: Iterable[str] = ()) -> Settings:
        """Read every `LATEBIND_*` variable; `require` lists fields that must not be empty.

        Raises SettingError naming the variable: malformed, unknown, or required and missing.
        """
        table = {setting.variable: setting for setting in SETTINGS}
        unknown = sorted(name for name in environ if name.startswith(PREFIX) and name not in table)
        for name in unknown:
            if name not in OTHER_VARIABLES:
                raise SettingError(name, "there is no such setting; docs/settings.md lists them all")
        values: dict[str, Any] = {}
        for name, setting in table.items():
            if environ.get(name, "") != "":
                try:
                    values[setting.field] = setting.read(environ[name])
                except ValueError as error:
                    raise SettingError(name, str(error)) from None
        settings = cls(**values)._filled()
        for name in require:
            if not getattr(settings, name):
                raise SettingError(PREFIX + name.upper(), "must be set")
        return settings

    def _filled(self) -> Settings:
        """The same settings with the defaults that follow from other settings."""
        var = self.var.absolute()
        return replace(
            self,
            var=var,
            queue_url=self.queue_url or self.redis_url,
            blob_url=self.blob_url or str(var / "blobs"),
            web_url=self.web_url or f"http://{self.bind}:{self.web_port}",
            render_url=self.render_url or f"http://{self.bind}:{self.render_port}",
            signals_url=self.signals_url or f"http://{self.bind}:{self.signals_port}",
        )

    def render_base(self, brand: str) -> str:
        """The public address of the pictures and links in a brand's mails, without a last slash."""
        return self.brand_urls.get(brand, self.render_url)

    @property
    def relay_url(self) -> str:
        """Where mail goes: the relay, or the embedded sink when none is set or in a dry run."""
        sink = f"smtp://127.0.0.1:{self.smtp_port}"
        return sink if self.dry_run or not self.smtp_url else self.smtp_url

    @property
    def loopback(self) -> bool:
        """Whether the apps are reachable from this machine only."""
        return self.bind in {"127.0.0.1", "::1", "localhost"}


@dataclass(frozen=True)
class Setting:
    """A row of the table, as the documentation shows it."""

    field: str
    variable: str
    default: str
    help: str
    secret: bool
    read: Callable[[str], Any]


def _default(default: object, shown: str | None) -> str:
    if shown is not None:
        return shown
    if isinstance(default, bool):
        return str(int(default))
    return "" if isinstance(default, bytes) or not isinstance(default, str | int) else str(default)


SETTINGS: tuple[Setting, ...] = tuple(
    Setting(
        field=f.name,
        variable=PREFIX + f.name.upper(),
        default=_default(f.default, f.metadata["shown_default"]),
        help=f.metadata["help"],
        secret=f.metadata["secret"],
        read=f.metadata["read"],
    )
    for f in fields(Settings)
)

WITHHELD_FROM_RENDER = (
    "database_url", "queue_url", "smtp_url", "subject_key", "session_key", "mailgun_key", "postmark_secret",
)  # fmt: skip
"""What the render process is not given: where the truth is kept, and the keys that open it."""

OTHER_VARIABLES = {"LATEBIND_CHROMIUM"}
"""Variables of the same prefix that only the tests read."""
