"""Bringing a database to the newest schema, and writing a draft of the next revision."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

from alembic import command
from alembic.config import Config
from sqlalchemy import MetaData

import campaigns
import migrations
import signals
from base.db import Model
from base.vault import Vault


def migrate(url: str, vault: Vault, hash_key: bytes, upto: str = "head") -> None:
    """Run every revision that the database has not seen. Safe to call from several hosts at once.

    Raises SettingError where what is stored must be sealed and `vault` has no key, or hashed anew without `hash_key`.
    """
    config = _config(url)
    config.attributes |= {"vault": vault, "hash_key": hash_key}
    command.upgrade(config, upto)


def draft(url: str, message: str, revision: str) -> None:
    """Write a revision file from what the models have and the database has not; a person reads and edits it."""
    config = _config(url)
    config.attributes["metadata"] = all_tables()
    command.revision(config, message=message, autogenerate=True, rev_id=revision)


def all_tables() -> MetaData:
    """The metadata of every table of the two packages that own some."""
    for package in (signals, campaigns):
        _import_all(package)
    return Model.metadata


def _import_all(package: ModuleType) -> None:
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__path__[0])))
    config.set_main_option("file_template", "%%(rev)s")
    config.set_main_option("path_separator", "os")
    config.attributes["url"] = url
    return config
