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
from base.mailsettings import MailSettings, entry
from base.storeaddress import is_cluster, queue_url, store_url
from base.values import (
    KEY_BYTES,
    TOKEN_KEY_BYTES,
    blob_address,
    brand_urls,
    choice,
    countries,
    folder,
    key,
    level,
    networks,
    numbered_keys,
    switch,
    text,
    url,
    whole,
)

PREFIX = "LATEBIND_"
_PORT = whole(1, 65535)


@dataclass(frozen=True, kw_only=True)
class Settings(MailSettings):
    """Everything that can be set. Empty text means "not set"."""

    var: Path = field(
        default=Path("var"), metadata=entry(folder, "Folder for everything Latebind keeps on this machine.", "./var")
    )
    database_url: str = field(
        default="",
        repr=False,
        metadata=entry(
            url("postgresql", "postgresql+psycopg"),
            "PostgreSQL 15 or newer. Not set: the embedded server under `var`.",
        ),
    )
    redis_url: str = field(
        default="",
        repr=False,
        metadata=entry(
            store_url,
            "Valkey or Redis 7.2 or newer, append-only file on: one server, or a cluster as "
            "`valkey+cluster://host:port,host:port`. Not set: the embedded server under `var`.",
        ),
    )
    queue_url: str = field(
        default="",
        repr=False,
        metadata=entry(
            queue_url,
            "Valkey for the job queues and rate limits, never a cluster; must be set where the store is one.",
            "as `LATEBIND_REDIS_URL`",
        ),
    )
    blob_url: str = field(
        default="",
        metadata=entry(blob_address, "Folder of the content-addressed store.", "`blobs` under `LATEBIND_VAR`"),
    )
    clock_file: Path | None = field(
        default=None,
        metadata=entry(
            folder, "File of the stepped clock shared by all processes (demo, tests). Not set: the system clock."
        ),
    )
    web_url: str = field(
        default="",
        metadata=entry(url("http", "https"), "Public address of the pages and API.", "bind address and port"),
    )
    render_url: str = field(
        default="",
        metadata=entry(url("http", "https"), "Public address of pictures and links in mails.", "bind address and port"),
    )
    brand_urls: Mapping[str, str] = field(
        default_factory=dict,
        metadata=entry(
            brand_urls,
            "Brands whose mails have an address of their own, not the one above: `brand=https://…`, commas between.",
        ),
    )
    signals_url: str = field(
        default="",
        metadata=entry(url("http", "https"), "Public address of the signals intake.", "bind address and port"),
    )
    bind: str = field(default="127.0.0.1", metadata=entry(text, "Address the apps listen on."))
    web_port: int = field(default=8000, metadata=entry(_PORT, "Port of the pages and API."))
    render_port: int = field(default=8001, metadata=entry(_PORT, "Port of the render app."))
    signals_port: int = field(default=8002, metadata=entry(_PORT, "Port of the signals intake."))
    smtp_port: int = field(default=8025, metadata=entry(_PORT, "Port of the embedded mail sink."))
    inbox_port: int = field(default=8026, metadata=entry(_PORT, "Port of the embedded inbox pages."))
    postgres_port: int = field(default=8432, metadata=entry(_PORT, "Port of the embedded PostgreSQL."))
    valkey_port: int = field(default=8379, metadata=entry(_PORT, "Port of the embedded Valkey."))
    token_keys: Mapping[int, bytes] = field(
        default_factory=dict,
        repr=False,
        metadata=entry(
            numbered_keys(TOKEN_KEY_BYTES),
            "Keys of the tokens in mails, `id:128 hex digits`, with commas between; the last one mints, all are read.",
            secret=True,
        ),
    )
    record_key: bytes = field(
        default=b"", repr=False, metadata=entry(key(KEY_BYTES), "Seals the record stream and the spool.", secret=True)
    )
    subject_key: bytes = field(
        default=b"",
        repr=False,
        metadata=entry(key(KEY_BYTES), "Wraps the per-person keys; the render app does not get it.", secret=True),
    )
    session_key: bytes = field(
        default=b"",
        repr=False,
        metadata=entry(key(KEY_BYTES), "Signs the sign-in cookies of the pages.", secret=True),
    )
    hash_key: bytes = field(
        default=b"",
        repr=False,
        metadata=entry(key(KEY_BYTES), "Keys the hashes by which identifiers are looked up.", secret=True),
    )
    pii_keys: Mapping[int, bytes] = field(
        default_factory=dict,
        repr=False,
        metadata=entry(
            numbered_keys(KEY_BYTES),
            "Keys that seal what the database keeps of people, `id:64 hex digits`, with commas between; the last one "
            "seals, all open. The render app does not get them.",
            secret=True,
        ),
    )
    deadline_ms: int = field(default=250, metadata=entry(whole(20, 60_000), "Longest time to answer a picture, in ms."))
    spool_mb: int = field(
        default=256,
        metadata=entry(
            whole(1, 100_000),
            "What records of opens may take on local disk while Valkey is away, in MB; beyond it pictures are static.",
        ),
    )
    score_hours: int = field(
        default=24,
        metadata=entry(
            whole(0, 8_760),
            "How often, in hours, traits of people are computed anew once somebody asked for that; 0: never.",
        ),
    )
    match_hours: int = field(
        default=24,
        metadata=entry(
            whole(0, 8_760),
            "How often, in hours, customers who are probably one are looked for once that was asked for; 0: never.",
        ),
    )
    keep_days: int = field(
        default=400,
        metadata=entry(
            whole(90, 36_500), "How long it is kept what people were shown and why, with the very bytes, in days."
        ),
    )
    keep_machine_days: int = field(
        default=90,
        metadata=entry(
            whole(14, 36_500),
            "How long fetches and clicks of machines are kept, in days; no longer than the above.",
        ),
    )
    keep_test_days: int = field(
        default=30,
        metadata=entry(
            whole(1, 36_500), "How long fetches and clicks of tests and staff are kept, in days; the same holds."
        ),
    )
    retrain_days: int = field(
        default=0,
        metadata=entry(
            whole(0, 365),
            "How often a model is trained by the schedule, in days; it then goes into the shadow of campaigns that a "
            "model decides. 0: never.",
        ),
    )
    learn_decisions: int = field(
        default=1_000_000,
        metadata=entry(
            whole(1_000, 20_000_000),
            "How many decisions of the last half year a training learns from, at most; of more an even part, drawn by "
            "lot. A showing takes some 220 bytes of memory.",
        ),
    )
    dask_url: str = field(
        default="",
        metadata=entry(
            url("tcp", "tls"),
            "Scheduler of a Dask cluster that trees are fitted on, such as tcp://10.0.0.5:8786. Whoever reaches it can "
            "run code on its machines and on this one. Not set: this machine.",
        ),
    )
    hold_seconds: int = field(
        default=3600,
        metadata=entry(whole(0, 604_800), "How long a decision holds while nothing changed, in seconds."),
    )
    instance: str = field(
        default="", metadata=entry(text, "Name of this installation, the same on all its hosts.", "made under `var`")
    )
    fetch_loopback: bool = field(
        default=False,
        metadata=entry(
            switch,
            "1: product pictures may be fetched from this machine too, on any port; for tests and the demo only.",
        ),
    )
    phone_regions: tuple[str, ...] = field(
        default=(),
        metadata=entry(
            countries,
            "Countries, as DE,AT, whose phone numbers support types without the country's code. Not set: any.",
        ),
    )
    trusted_proxies: tuple[str, ...] = field(
        default=(),
        metadata=entry(
            networks,
            "Balancers before the apps, as CIDRs with commas between; only their X-Forwarded-For is believed.",
        ),
    )
    address_ranges: Path | None = field(
        default=None,
        metadata=entry(
            folder, "File of known address ranges for fetch classes (docs/fetch-classes.md). Not set: none are known."
        ),
    )
    render_workers: int = field(
        default_factory=lambda: os.cpu_count() or 1,
        metadata=entry(whole(1, 256), "Processes of the render app.", "number of cores"),
    )
    render_threads: int = field(default=4, metadata=entry(whole(1, 64), "Threads of each render process."))
    web_workers: int = field(default=1, metadata=entry(whole(1, 256), "Processes of the pages and API."))
    signals_workers: int = field(default=1, metadata=entry(whole(1, 256), "Processes of the signals intake."))
    signals_threads: int = field(
        default=32, metadata=entry(whole(4, 256), "Threads of each signals process; half may hold batches that wait.")
    )
    pin_cpus: bool = field(
        default=False, metadata=entry(switch, "1: pin each app process to one core; for hosts that run one app only.")
    )
    alive_file: Path | None = field(
        default=None,
        metadata=entry(
            folder,
            "File that workers, schedule loops and recorders touch every ten seconds while their stores answer, for "
            "health checks. Not set: none.",
        ),
    )
    niceness: int = field(
        default=10,
        metadata=entry(
            whole(0, 19),
            "How far senders, workers, rebuilds, pages and API give way to opens and signals on one host; 0: not.",
        ),
    )
    log_level: str = field(default="info", metadata=entry(level, "debug, info, warning or error."))
    log_format: str = field(
        default="json", metadata=entry(choice("json", "console"), "json, or console for a person at a terminal.")
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
        settings = cls(**values).filled()
        for name in require:
            if not getattr(settings, name):
                raise settings.missing(name)
        return settings

    def filled(self) -> Settings:
        """The same settings with the defaults that follow from other settings."""
        var = self.var.absolute()
        return replace(
            self,
            var=var,
            queue_url=self.queue_url or ("" if is_cluster(self.redis_url) else self.redis_url),
            blob_url=self.blob_url or str(var / "blobs"),
            web_url=self.web_url or f"http://{self.bind}:{self.web_port}",
            render_url=self.render_url or f"http://{self.bind}:{self.render_port}",
            signals_url=self.signals_url or f"http://{self.bind}:{self.signals_port}",
        )

    def missing(self, name: str) -> SettingError:
        """What to tell of a field that must be set and is not."""
        why = ""
        if name == "queue_url" and is_cluster(self.redis_url):
            why = ": LATEBIND_REDIS_URL is a cluster, and job queues (RQ) need a Valkey server of their own"
        return SettingError(PREFIX + name.upper(), "must be set" + why)

    def render_base(self, brand: str) -> str:
        """The public address of the pictures and links in a brand's mails, without a last slash."""
        return self.brand_urls.get(brand, self.render_url)

    @property
    def relay_url(self) -> str:
        """Where mail goes: the relay, or the embedded sink when none is set or in a dry run."""
        return self._sink_url if self.dry_run or not self.smtp_url else self.smtp_url

    @property
    def is_sending(self) -> bool:
        """Whether mails go to people, and not to the embedded sink."""
        return self.relay_url != self._sink_url

    @property
    def _sink_url(self) -> str:
        return f"smtp://127.0.0.1:{self.smtp_port}"

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
    for f in sorted(fields(Settings), key=lambda f: f.name in MailSettings.__annotations__)
)

WITHHELD_FROM_RENDER = (
    "database_url", "queue_url", "smtp_url", "subject_key", "session_key", "hash_key", "pii_keys", "mailgun_key",
    "postmark_secret",
)  # fmt: skip
"""What the render process is not given: where the truth is kept, and the keys that open it."""

OTHER_VARIABLES = {"LATEBIND_CHROMIUM", "LATEBIND_TEST_CLUSTER"}
"""Variables of the same prefix that only the tests read."""
