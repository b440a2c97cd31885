"""Checking an installation: each check says in one line that a part is well, or what is wrong and what to do."""

from __future__ import annotations

import contextlib
import importlib
import shutil
import smtplib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from redis import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from base import db, keys, stores
from base.blobs import blobs_from
from base.clock import clock_from, monotonic
from base.errors import LatebindError
from base.schema import revisions, stored_revision
from base.settings import Settings
from base.storeaddress import cluster_address, is_cluster
from base.tokens import Purpose, Token, TokenKeys
from base.vault import Vault
from campaigns import dkimkeys, domaincheck, instance, sendingdoctor, sendingdomain
from campaigns.instance import Here
from campaigns.lookups import Lookups
from campaigns.retention import Policy, stock
from signals import keymarks, sealingkeys
from workers import setaside
from workers.relay import Unreachable, connect, is_encrypted, relay_from

POSTGRES_FROM = 150_000
VALKEY_FROM = (7, 2)
FREE_BYTES = 1024**3
RELAY_SECONDS = 5.0
KEYS = ("record_key", "subject_key", "session_key", "hash_key")


class Unwell(LatebindError):
    """A part does not do what it must; the message says what to do."""


@dataclass(frozen=True)
class Finding:
    """What a check found. `words` is one line without addresses or secrets."""

    part: str
    well: bool
    words: str


def examine(settings: Settings, *, health: bool = False) -> Iterator[Finding]:
    """Check every part in turn; one that hangs is given up after seconds.

    For `health` alone, sending domains are left out: what stands in the DNS says nothing of a process.
    """
    checks: dict[str, Callable[[Settings], str]] = {
        "database": _database,
        "instance": _instance,
        "store": _store,
        "queues": _queues,
        "relay": _relay,
        "blobs": _blobs,
        "keys": _keys,
        "personal data": _vault,
        "hash key": partial(_marked, "hash_key"),
        "record key": partial(_marked, "record_key"),
        "records": _records,
        "retention": _retention,
        "addresses": _addresses,
        "render addresses": _render_addresses,
        "sending domains": _sending_domains,
        "clock": _clock,
        "model library": _model_library,
    }
    if health:
        del checks["sending domains"]
    for part, check in checks.items():
        try:
            yield Finding(part, True, check(settings))
        except LatebindError as error:
            yield Finding(part, False, str(error))


def _database(settings: Settings) -> str:
    if not settings.database_url:
        raise Unwell("LATEBIND_DATABASE_URL is not set.")
    engine = db.connect(settings.database_url, vault=Vault.of(settings), application="latebind doctor")
    try:
        with engine.connect() as connection:
            version = int(connection.execute(text("SHOW server_version_num")).scalar_one())
            if version < POSTGRES_FROM:
                raise Unwell("PostgreSQL is older than 15.")
            with Session(connection) as session:
                revision = stored_revision(session)
    except SQLAlchemyError as error:
        raise Unwell(f"PostgreSQL cannot be used: {type(error).__name__}.") from None
    finally:
        engine.dispose()
    newest = revisions()[1]
    if revision is None:
        raise Unwell("The database has no tables yet: run `latebind migrate`.")
    if revision != newest:
        raise Unwell(f"The schema is at {revision}, not at {newest}: run `latebind migrate`.")
    return f"PostgreSQL {version // 10_000}, schema {revision}"


def _instance(settings: Settings) -> str:
    """Whether this installation may send from its database, which has a check of its own."""
    if not settings.database_url:
        return "no database to send from"
    engine = db.connect(settings.database_url, vault=Vault.of(settings), application="latebind doctor")
    try:
        with engine.connect() as connection, Session(connection) as session:
            why = instance.standing(session, Here.of(settings))
    except SQLAlchemyError:
        return "the database cannot be asked"
    finally:
        engine.dispose()
    if why is not None:
        raise Unwell(why)
    return "sends from this database"


def _store(settings: Settings) -> str:
    if is_cluster(settings.redis_url):
        return _nodes(settings)
    version, config = _server(settings.redis_url, "LATEBIND_REDIS_URL")
    _check_kept(config, "The store")
    return f"version {version}, append-only file on, nothing evicted"


def _nodes(settings: Settings) -> str:
    """Every master of a cluster keeps and evicts nothing, serves its keys without the others, and takes records."""
    address = cluster_address(settings.redis_url)
    for place in address.places:
        # By a map without hosts nobody finds the masters, so those that are named are asked first.
        with stores.connect(address.node(place)) as named, suppress(RedisError):
            _check_told(_asked(named, "A node")[1], f"The node at {place.host}:{place.port}")
    client = stores.connect(settings.redis_url)
    try:
        masters = stores.servers(client)
        holders = {stores.holder(client, key) for key in keys.record_streams()}
        versions = set()
        for number, (name, server) in enumerate(masters.items(), 1):
            what = f"Node {number} of {len(masters)} by address"
            version, config = _asked(server, what)
            versions.add(version)
            _check_kept(config, what)
            if config.get("cluster-require-full-coverage") != "no":
                raise Unwell(f"{what} refuses everything while another is away. Set cluster-require-full-coverage no.")
            _check_told(config, what)
            if name not in holders:
                raise Unwell(f"{what} has no record stream, so it takes no opens: give it more slots in a row.")
    except RedisError as error:
        raise Unwell(f"The cluster of LATEBIND_REDIS_URL cannot be used: {type(error).__name__}.") from None
    finally:
        client.close()
    told = " and ".join(sorted(versions))
    return f"a cluster of {len(masters)}, version {told}, append-only files on, nothing evicted"


_ENDPOINT: Final = "cluster-preferred-endpoint-type"
_HOSTNAME: Final = "cluster-announce-hostname"


def _check_told(config: dict[str, str], what: str) -> None:
    if config.get(_ENDPOINT) == "unknown-endpoint":
        raise Unwell(f"{what} tells ports without addresses, which workers do not follow. Set {_ENDPOINT} ip.")
    if config.get(_ENDPOINT) == "hostname" and not config.get(_HOSTNAME):
        raise Unwell(f"{what} is to tell its name and knows none. Set {_HOSTNAME}, or {_ENDPOINT} ip.")


def _check_kept(config: dict[str, str], what: str) -> None:
    if config.get("appendonly") != "yes":
        raise Unwell(f"{what} keeps no append-only file: records could be lost. Set appendonly yes.")
    if config.get("maxmemory-policy") != "noeviction":
        raise Unwell(f"{what} may evict keys, which Latebind would take for lost. Set maxmemory-policy noeviction.")


def _queues(settings: Settings) -> str:
    if not settings.queue_url and is_cluster(settings.redis_url):
        raise Unwell(str(settings.missing("queue_url")))
    version, _ = _server(settings.queue_url, "LATEBIND_QUEUE_URL")
    return f"version {version}" + (", the same server as the store" if settings.queue_url == settings.redis_url else "")


def _server(url: str, variable: str) -> tuple[str, dict[str, str]]:
    if not url:
        raise Unwell(f"{variable} is not set.")
    client = stores.connect(url)
    try:
        if client.info("cluster").get("cluster_enabled"):
            hint = "spell it valkey+cluster://host:port" if variable == "LATEBIND_REDIS_URL" else "job queues need one"
            raise Unwell(f"{variable} names a node of a cluster as if it were a server of its own: {hint}.")
        return _asked(client, f"The server of {variable}")
    except RedisError as error:
        raise Unwell(f"The server of {variable} cannot be used: {type(error).__name__}.") from None
    finally:
        client.close()


def _asked(server: stores.Store, what: str) -> tuple[str, dict[str, str]]:
    """The version of a server and what it is told to do. Raises Unwell, redis.RedisError."""
    info = server.info("server")
    version = str(info.get("valkey_version") or info["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < VALKEY_FROM:
        raise Unwell(f"{what} is older than 7.2.")
    found = server.config_get("appendonly", "maxmemory-policy", "cluster-require-full-coverage", _ENDPOINT, _HOSTNAME)
    return version, {_word(key): _word(value) for key, value in found.items()}


def _word(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _relay(settings: Settings) -> str:
    try:
        session = connect(relay_from(settings), RELAY_SECONDS)
    except Unreachable as error:
        raise Unwell(f"No mail leaves: {error.reply}") from None
    found = ["encrypted"] if is_encrypted(session) else []
    found += [f"offers {name.upper()}" for name in ("pipelining", "smtputf8") if session.has_extn(name)]
    with contextlib.suppress(OSError, smtplib.SMTPException):
        session.quit()
    where = "the embedded sink; no mail leaves this machine" if settings.dry_run or not settings.smtp_url else "a relay"
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
    """What is kept of opens; the database's own check says when it cannot be used."""
    policy = Policy.of(settings)
    words = f"people's opens {policy.people.days} days, machines' {policy.machine.days}, tests' {policy.test.days}"
    if not settings.database_url:
        return words
    engine = db.connect(settings.database_url, vault=Vault.of(settings), application="latebind doctor")
    try:
        with engine.connect() as connection, Session(connection) as session:
            found = stock(session)
    except SQLAlchemyError:
        return words
    finally:
        engine.dispose()
    each = f" of {found.bytes_per_open / 1024:.1f} KB" if found.bytes_per_open else ""
    return f"{words}; {found.tables[0].rows} opens{each} kept"


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
    if not settings.database_url:
        return words
    engine = db.connect(settings.database_url, vault=vault, application="latebind doctor")
    try:
        with engine.connect() as connection, Session(connection) as session:
            others = [number for number in sealingkeys.check(session) if number != vault.newest]
    except SQLAlchemyError:
        return "the database cannot be asked"
    finally:
        engine.dispose()
    return words + (f", some under {', '.join(map(str, others))}: run `latebind rekey`" if others else "")


def _marked(name: str, settings: Settings) -> str:
    """Whether a key is the one that the installation began with; the check of keys says which are not set."""
    if not settings.database_url or not getattr(settings, name):
        return "not checked"
    engine = db.connect(settings.database_url, vault=Vault.of(settings), application="latebind doctor")
    try:
        with engine.connect() as connection, Session(connection) as session:
            is_known = keymarks.check(session, settings, name)
    except SQLAlchemyError:
        return "the database cannot be asked"
    finally:
        engine.dispose()
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
    if settings.dry_run or not settings.smtp_url:
        return "no mail leaves this machine"
    if not settings.database_url or not settings.token_keys:
        raise Unwell("LATEBIND_DATABASE_URL and LATEBIND_TOKEN_KEYS must be set.")
    engine = db.connect(settings.database_url, vault=Vault.of(settings), application="latebind doctor")
    try:
        with engine.connect() as connection, Session(connection) as session:
            domains = [one.domain for one in sendingdomain.domains(session, settings) if one.sends]
            keys = dkimkeys.keys(session)
    except SQLAlchemyError as error:
        raise Unwell(f"PostgreSQL cannot be used: {type(error).__name__}.") from None
    finally:
        engine.dispose()
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
