"""Checking an installation: each check says in one line that a part is well, or what is wrong and what to do."""

from __future__ import annotations

import contextlib
import importlib
import shutil
import smtplib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from redis import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from base import db, stores
from base.blobs import blobs_from
from base.clock import clock_from, monotonic
from base.errors import LatebindError
from base.schema import revisions, stored_revision
from base.settings import Settings
from base.tokens import Purpose, Token, TokenKeys
from base.vault import Vault
from campaigns import atopens, dkimkeys, domaincheck, instance, sendingdoctor, sendingdomain
from campaigns.instance import Here
from campaigns.lookups import Lookups
from campaigns.retention import Policy, stock
from signals import exchange, keymarks, sealingkeys, shops
from workers import setaside
from workers.relay import Unreachable, connect, is_encrypted, relay_from
from workers.storecheckup import Unwell, hot_store, queues

POSTGRES_FROM = 150_000
FREE_BYTES = 1024**3
RELAY_SECONDS = 5.0
KEYS = ("record_key", "subject_key", "session_key", "hash_key")


@dataclass(frozen=True)
class Finding:
    """What a check found. `words` is one line without addresses or secrets."""

    part: str
    well: bool
    words: str


def examine(settings: Settings, *, health: bool = False) -> Iterator[Finding]:
    """Check every part in turn; one that hangs is given up after seconds.

    For `health` alone, sending domains, currencies, shops and segments are left out: what stands in the DNS, how shops
    count or what a rule says tells nothing of a process.
    """
    checks: dict[str, Callable[[Settings], str]] = {
        "database": _database,
        "instance": _instance,
        "store": hot_store,
        "queues": queues,
        "relay": _relay,
        "blobs": _blobs,
        "keys": _keys,
        "personal data": _vault,
        "hash key": partial(_marked, "hash_key"),
        "record key": partial(_marked, "record_key"),
        "subject key": partial(_marked, "subject_key"),
        "records": _records,
        "retention": _retention,
        "currencies": _currencies,
        "shops": _shops,
        "segments": _segments,
        "addresses": _addresses,
        "render addresses": _render_addresses,
        "sending domains": _sending_domains,
        "clock": _clock,
        "model library": _model_library,
    }
    if health:
        for part in ("sending domains", "currencies", "shops", "segments"):
            del checks[part]
    for part, check in checks.items():
        try:
            yield Finding(part, True, check(settings))
        except _Unasked as error:
            yield Finding(part, True, str(error))
        except LatebindError as error:
            yield Finding(part, False, str(error))


class _Unasked(Exception):
    """The database cannot be asked, which its own check says; the message is what another check says then."""


@contextmanager
def _asking(settings: Settings) -> Iterator[Session]:
    """A session on the database. Raises _Unasked where there is none, and where it cannot be used."""
    if not settings.database_url:
        raise _Unasked("no database to ask")
    engine = db.connect(settings.database_url, vault=Vault.of(settings), application="latebind doctor")
    try:
        with engine.connect() as connection, Session(connection) as session:
            yield session
    except SQLAlchemyError as error:
        raise _Unasked("the database cannot be asked") from error
    finally:
        engine.dispose()


def _database(settings: Settings) -> str:
    if not settings.database_url:
        raise Unwell("LATEBIND_DATABASE_URL is not set.")
    try:
        with _asking(settings) as session:
            version = int(session.execute(text("SHOW server_version_num")).scalar_one())
            if version < POSTGRES_FROM:
                raise Unwell("PostgreSQL is older than 15.")
            revision = stored_revision(session)
    except _Unasked as error:
        raise Unwell(f"PostgreSQL cannot be used: {type(error.__cause__).__name__}.") from None
    newest = revisions()[1]
    if revision is None:
        raise Unwell("The database has no tables yet: run `latebind migrate`.")
    if revision != newest:
        raise Unwell(f"The schema is at {revision}, not at {newest}: run `latebind migrate`.")
    return f"PostgreSQL {version // 10_000}, schema {revision}"


def _instance(settings: Settings) -> str:
    """Whether this installation may send from its database, which has a check of its own."""
    with _asking(settings) as session:
        why = instance.standing(session, Here.of(settings))
    if why is not None:
        raise Unwell(why)
    return "sends from this database"


def _relay(settings: Settings) -> str:
    try:
        session = connect(relay_from(settings), RELAY_SECONDS)
    except Unreachable as error:
        raise Unwell(f"No mail leaves: {error.reply}") from None
    found = ["encrypted"] if is_encrypted(session) else []
    found += [f"offers {name.upper()}" for name in ("pipelining", "smtputf8") if session.has_extn(name)]
    with contextlib.suppress(OSError, smtplib.SMTPException):
        session.quit()
    where = "a relay" if settings.is_sending else "the embedded sink; no mail leaves this machine"
    return ", ".join((where, *found))


def _blobs(settings: Settings) -> str:
    folder = Path(settings.blob_url)
    try:
        kept = blobs_from(settings)
        digest = kept.put(b"latebind doctor")
        kept.get(digest)
    except OSError as error:
        raise Unwell(f"{folder} cannot be written: {error.strerror}.") from None
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES:
        raise Unwell(f"{folder} has less than 1 GB free.")
    return f"{folder}, {free // 1024**3} GB free"


def _retention(settings: Settings) -> str:
    """What is kept of opens."""
    policy = Policy.of(settings)
    words = f"people's opens {policy.people.days} days, machines' {policy.machine.days}, tests' {policy.test.days}"
    try:
        with _asking(settings) as session:
            found = stock(session)
    except _Unasked:
        return words
    each = f" of {found.bytes_per_open / 1024:.1f} KB" if found.bytes_per_open else ""
    return f"{words}; {found.tables[0].rows} opens{each} kept"


def _currencies(settings: Settings) -> str:
    """Whether the money of orders can be added up."""
    with _asking(settings) as session:
        own = exchange.own(session)
        found, told = exchange.lacking(session), exchange.in_use(session, own)
        due = exchange.due(session)
    if found:
        lack = ", ".join(f"{one.orders} in {one.currency} since {one.first}" for one in found)
        raise Unwell(
            f"Orders without an exchange rate, whose money is in no sum: {lack}. Run `latebind currency rates FILE`."
        )
    if due:
        raise Unwell(exchange.INTERRUPTED)
    if own is None:
        mixed = f", though orders tell {', '.join(told)}: see `latebind currency set`" if len(told) > 1 else ""
        return f"added up as they are told{mixed}"
    return ", ".join([own, *(f"{name} up to {day}" for name, day in told.items() if day is not None)])


def _shops(settings: Settings) -> str:
    """Whether the numbers of every shop mean its own orders."""
    with _asking(settings) as session:
        found = shops.alike(session)
    if found:
        raise Unwell(" ".join(one.words for one in found))
    return "no two number their orders alike"


def _segments(settings: Settings) -> str:
    """Whether it is told who is in the segments that opens ask for."""
    with _asking(settings) as session:
        found = atopens.left_aside(session)
    if found:
        raise Unwell(" ".join(one.words for one in found))
    return "all that opens ask for are kept up"


def _keys(settings: Settings) -> str:
    missing = [name for name in (*KEYS, "token_keys") if not getattr(settings, name)]
    if missing:
        raise Unwell(f"Not set: {', '.join(f'LATEBIND_{name.upper()}' for name in missing)}.")
    keys = TokenKeys.from_settings(settings)
    token = Token(Purpose.VIEW, 1, 1, 1)
    if keys.read(keys.mint(token), Purpose.VIEW) != token:
        raise Unwell("The token keys do not read what they mint.")
    return f"all set, {len(settings.token_keys)} for tokens"


def _vault(settings: Settings) -> str:
    """Whether everything that the database keeps sealed can be opened."""
    vault = Vault.of(settings)
    words = f"sealed under key {vault.newest}"
    try:
        with _asking(settings) as session:
            others = [number for number in sealingkeys.check(session) if number != vault.newest]
    except _Unasked:
        return words
    return words + (f", some under {', '.join(map(str, others))}: run `latebind rekey`" if others else "")


def _marked(name: str, settings: Settings) -> str:
    """Whether a key is the one that the installation began with; the check of keys says which are not set."""
    if not getattr(settings, name):
        return "not checked"
    with _asking(settings) as session:
        is_known = keymarks.check(session, settings, name)
    return "the installation's" if is_known else "the first: it becomes the installation's when a process starts"


def _records(settings: Settings) -> str:
    """Whether records lie where no recorder takes them from; the store's own check says when it cannot be used."""
    if not settings.redis_url:
        return "no store to look into"
    client = stores.connect(settings.redis_url)
    try:
        number = setaside.count(client)
    except RedisError:
        return "the store cannot be asked"
    finally:
        client.close()
    if number:
        raise Unwell(f"{number:,} entries are set aside: `latebind records show` says how many of them open.")
    return "none set aside"


def _addresses(settings: Settings) -> str:
    ours = (settings.web_url, settings.render_url, *settings.brand_urls.values(), settings.signals_url)
    public = [url for url in ours if not _is_local(url)]
    plain = [url for url in public if not url.startswith("https://")]
    if plain:
        raise Unwell(f"Not encrypted: {', '.join(plain)}. Put a TLS proxy in front and use https.")
    return "public, all https" if public else "this machine only"


def _render_addresses(settings: Settings) -> str:
    """The checks of the system page; an address of this machine alone has no certificate to look at."""
    public = [one.url for one in domaincheck.addresses(settings) if not _is_local(one.url)]
    if not public:
        return "this machine only"
    if not settings.token_keys:
        raise Unwell("LATEBIND_TOKEN_KEYS is not set.")
    tokens, now = TokenKeys.from_settings(settings), clock_from(settings).now()
    wrong = [found.words for url in public for found in domaincheck.examine(url, tokens, now) if not found.well]
    if wrong:
        raise Unwell(" ".join(wrong))
    return f"{len(public)} as mails need {'them' if len(public) > 1 else 'it'}"


def _sending_domains(settings: Settings) -> str:
    """The checks of the page, of every domain that mails come from; none where no mail leaves this machine."""
    if not settings.is_sending:
        return "no mail leaves this machine"
    if not settings.token_keys:
        raise Unwell("LATEBIND_TOKEN_KEYS must be set.")
    with _asking(settings) as session:
        domains = [one.domain for one in sendingdomain.domains(session, settings) if one.sends]
        keys = dkimkeys.keys(session)
    tokens, now, lookups = TokenKeys.from_settings(settings), clock_from(settings).now(), Lookups.of(settings)
    wrong = [
        f"{domain}, {found.check}: {found.words}"
        for domain in domains
        for found in sendingdoctor.examine(domain, keys, settings, lookups, tokens, now)
        if found.well is False
    ]
    if wrong:
        raise Unwell(" ".join(wrong))
    return ", ".join(domains)


def _is_local(url: str) -> bool:
    return domaincheck.is_local(urlsplit(url).hostname or "")


def _clock(settings: Settings) -> str:
    now = clock_from(settings).now()
    if settings.clock_file is not None:
        return f"stepped, stands at {now:%Y-%m-%d %H:%M} UTC"
    return f"the machine's, {now:%Y-%m-%d %H:%M} UTC"


def _model_library(_settings: Settings) -> str:
    before = monotonic()
    try:
        version = importlib.import_module("lightgbm").__version__
    except OSError as error:
        # The usual cause: the OpenMP runtime is a system library, libgomp1 on Debian.
        raise Unwell(f"LightGBM cannot be loaded ({error}); install libgomp1.") from None
    return f"LightGBM {version}, loaded in {monotonic() - before:.1f} s"
