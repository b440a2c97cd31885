"""Commands beside a running `latebind up`: where no database is named, they use the embedded servers of its folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from base.embedded import PostgresServer, ValkeyServer
from base.errors import StartError
from base.secrets import PASSWORD_BYTES, secret, with_generated_keys
from base.settings import PREFIX, Settings


def settings_here(environ: Mapping[str, str], require: Iterable[str]) -> Settings:
    """The settings of the environment, or of the system that `latebind up` runs on this folder.

    Raises SettingError for a bad or missing variable, StartError when neither names a database nor runs one here.
    """
    given = Settings.from_environment(environ)
    if given.database_url:
        return Settings.from_environment(environ, require=require)
    var = given.var
    if not (var / "run.json").exists():
        raise StartError(
            f"No {PREFIX}DATABASE_URL is set and no `latebind up` runs on {var}: start one, or name the servers."
        )
    folder = var / "secrets"
    postgres = PostgresServer(
        var / "postgres",
        given.postgres_port,
        var / "log" / "postgres.log",
        password=secret(folder, "postgres_password", PASSWORD_BYTES),
    )
    valkey = ValkeyServer(
        var / "valkey",
        given.valkey_port,
        var / "log" / "valkey.log",
        password=secret(folder, "valkey_password", PASSWORD_BYTES),
    )
    found = with_generated_keys(replace(given, database_url=postgres.url, redis_url=given.redis_url or valkey.url))
    return found.filled()
