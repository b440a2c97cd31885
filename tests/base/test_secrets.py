from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from base.secrets import secret, with_generated_keys
from base.settings import Settings


def test_it_makes_every_key_once_and_keeps_it(tmp_path: Path) -> None:
    bare = replace(Settings(), var=tmp_path)
    first, second = with_generated_keys(bare), with_generated_keys(bare)
    assert first == second
    keys = [first.record_key, first.subject_key, first.session_key, first.hash_key]
    assert all(len(key) == 32 for key in keys)
    assert len(set(keys)) == 4
    assert len(first.token_keys[1]) == 64


def test_it_lets_only_the_owner_read(tmp_path: Path) -> None:
    with_generated_keys(replace(Settings(), var=tmp_path))
    files = list((tmp_path / "secrets").iterdir())
    assert files
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700


def test_it_leaves_keys_that_are_set_alone(tmp_path: Path, settings: Settings) -> None:
    assert with_generated_keys(replace(settings, var=tmp_path)) == replace(settings, var=tmp_path)


def test_it_agrees_with_others_who_make_the_same_secret_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: secret(tmp_path / "s", "k", 16), range(32)))) == 1
