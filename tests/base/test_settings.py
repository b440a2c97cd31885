from __future__ import annotations

from pathlib import Path

import pytest

from base.environment import environment
from base.errors import SettingError
from base.settings import SETTINGS, WITHHELD_FROM_RENDER, Settings
from base.storeaddress import Place, cluster_address

KEY = "ab" * 32


def test_it_fills_in_what_follows_from_other_settings(tmp_path: Path) -> None:
    settings = Settings.from_environment(
        {"LATEBIND_VAR": str(tmp_path), "LATEBIND_REDIS_URL": "redis://h/0", "LATEBIND_WEB_PORT": "9"}
    )
    assert settings.queue_url == "redis://h/0"
    assert settings.blob_url == str(tmp_path / "blobs")
    assert settings.web_url == "http://127.0.0.1:9"
    assert settings.render_url == "http://127.0.0.1:8001"


def test_it_takes_countries_by_two_letters() -> None:
    assert Settings.from_environment({"LATEBIND_PHONE_REGIONS": "de, AT"}).phone_regions == ("DE", "AT")
    for wrong in ("Germany", "D1", "DE,,AT"):
        with pytest.raises(SettingError, match="LATEBIND_PHONE_REGIONS: must be countries by two letters"):
            Settings.from_environment({"LATEBIND_PHONE_REGIONS": wrong})


def test_it_makes_relative_folders_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.from_environment({}).var == tmp_path / "var"
    assert Settings.from_environment({"LATEBIND_VAR": "here"}).var == tmp_path / "here"


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("LATEBIND_WEB_PORT", "eighty", "whole number from 1 to 65535"),
        ("LATEBIND_WEB_PORT", "70000", "whole number from 1 to 65535"),
        ("LATEBIND_DATABASE_URL", "mysql://h/x", "postgresql://"),
        ("LATEBIND_REDIS_URL", "localhost:6379", "redis://"),
        ("LATEBIND_RECORD_KEY", "abc", "64 hexadecimal digits"),
        ("LATEBIND_RECORD_KEY", "zz" * 32, "64 hexadecimal digits"),
        ("LATEBIND_TOKEN_KEYS", "1:" + KEY, "128 hexadecimal digits"),
        ("LATEBIND_TOKEN_KEYS", f"1:{KEY * 2},1:{KEY * 2}", "distinct ids"),
        ("LATEBIND_TOKEN_KEYS", f"256:{KEY * 2}", "distinct ids from 0 to 255"),
        ("LATEBIND_DRY_RUN", "perhaps", "1 or 0"),
        ("LATEBIND_BLOB_URL", "s3://bucket", "must be a folder"),
        ("LATEBIND_LOG_LEVEL", "loud", "debug, info, warning or error"),
        ("LATEBIND_DEADLINE_MS", "5", "from 20 to 60000"),
        ("LATEBIND_DNS_SERVERS", "dns.example.com", "must be addresses such as 10.0.0.2"),
        ("LATEBIND_DNS_SERVERS", "10.0.0.2,10.0.0.3:0", "must be addresses such as 10.0.0.2"),
        ("LATEBIND_WEBPORT", "8000", "no such setting"),
        ("LATEBIND_REDIS_URL", "unix://", "file of the socket"),
        ("LATEBIND_REDIS_URL", "unix://run/valkey.sock", "file of the socket"),
        ("LATEBIND_REDIS_URL", "redis://", "must name a host"),
        ("LATEBIND_REDIS_URL", "redis://h:99999/0", "port from 1 to 65535"),
        ("LATEBIND_REDIS_URL", "redis://h:port/0", "port from 1 to 65535"),
        ("LATEBIND_QUEUE_URL", "redis://h:0", "port from 1 to 65535"),
        ("LATEBIND_REDIS_URL", "redis://h/first", "database by its number"),
        ("LATEBIND_DATABASE_URL", "postgresql://h:99999/x", "port from 1 to 65535"),
        ("LATEBIND_WEB_URL", "https://", "must name a host"),
        ("LATEBIND_RENDER_URL", "https:///pictures", "must name a host"),
        ("LATEBIND_SMTP_URL", "smtp://:25", "must name a host"),
        ("LATEBIND_BRAND_URLS", "shoes=https://h:0", "port from 1 to 65535"),
        ("LATEBIND_RENDER_WORKERS", "0", "from 1 to 256"),
        ("LATEBIND_LOG_FORMAT", "xml", "json or console"),
    ],
)
def test_it_stops_at_a_bad_value_and_names_the_variable(variable: str, value: str, message: str) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        Settings.from_environment({variable: value})
    assert caught.value.variable == variable
    assert str(caught.value).startswith(variable)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LATEBIND_DATABASE_URL", "postgresql:///latebind?host=/run/postgresql"),
        ("LATEBIND_DATABASE_URL", "postgresql+psycopg://u:p%40ss@[::1]:5432/latebind"),
        ("LATEBIND_REDIS_URL", "unix:///run/valkey.sock?db=4"),
        ("LATEBIND_REDIS_URL", "unix://user:p%40ss@/run/valkey.sock"),
        ("LATEBIND_REDIS_URL", "redis://:p%40ss@[::1]:6379"),
        ("LATEBIND_SMTP_URL", "smtps://user:password@relay.example.com:465"),
    ],
)
def test_it_takes_every_way_to_spell_a_place(variable: str, value: str) -> None:
    read = Settings.from_environment({variable: value})
    assert getattr(read, variable.removeprefix("LATEBIND_").lower()) == value


def test_it_never_repeats_a_secret_in_the_message() -> None:
    with pytest.raises(SettingError) as caught:
        Settings.from_environment({"LATEBIND_SUBJECT_KEY": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_it_names_what_is_required_and_missing() -> None:
    with pytest.raises(SettingError, match="LATEBIND_DATABASE_URL: must be set"):
        Settings.from_environment({}, require=["database_url"])


def test_it_reads_token_keys_with_the_newest_last() -> None:
    settings = Settings.from_environment({"LATEBIND_TOKEN_KEYS": f"1:{KEY * 2}, 7:{'cd' * 64}"})
    assert list(settings.token_keys) == [1, 7]
    assert settings.token_keys[7] == bytes.fromhex("cd" * 64)


def test_it_shows_no_secret_in_its_text(settings: Settings) -> None:
    shown = repr(settings)
    assert settings.record_key.hex() not in shown
    assert repr(settings.record_key) not in shown
    assert settings.database_url not in shown


def test_it_hands_the_same_settings_to_another_process(settings: Settings) -> None:
    assert Settings.from_environment(environment(settings)) == settings


def test_it_keeps_the_truth_and_its_keys_from_render(settings: Settings) -> None:
    given = Settings.from_environment(environment(settings, without=WITHHELD_FROM_RENDER))
    assert given.database_url == ""
    assert given.subject_key == given.session_key == b""
    assert given.redis_url == settings.redis_url
    assert given.record_key == settings.record_key


def test_it_sends_all_mail_to_the_sink_in_a_dry_run() -> None:
    environ = {"LATEBIND_SMTP_URL": "smtp://relay.example.com", "LATEBIND_SMTP_PORT": "2525"}
    assert Settings.from_environment(environ).relay_url == "smtp://relay.example.com"
    assert Settings.from_environment(environ | {"LATEBIND_DRY_RUN": "1"}).relay_url == "smtp://127.0.0.1:2525"
    assert Settings.from_environment({}).relay_url == "smtp://127.0.0.1:8025"


def test_it_explains_every_setting_in_a_sentence() -> None:
    for setting in SETTINGS:
        assert setting.help.endswith((".", "`var`.")), setting.variable
        assert setting.variable.startswith("LATEBIND_")


CLUSTER = "valkey+cluster://:s3cret@10.0.0.1:6379,[::1]:7000"


def test_it_takes_a_cluster_with_queues_of_their_own() -> None:
    read = Settings.from_environment({"LATEBIND_REDIS_URL": CLUSTER, "LATEBIND_QUEUE_URL": "redis://h/0"})
    assert (read.redis_url, read.queue_url) == (CLUSTER, "redis://h/0")
    with pytest.raises(SettingError) as caught:
        Settings.from_environment({"LATEBIND_REDIS_URL": CLUSTER}, require=["redis_url", "queue_url"])
    assert caught.value.variable == "LATEBIND_QUEUE_URL"
    assert "RQ" in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("REDIS_URL", "valkey+cluster://h:1/3", "database 0 only"),
        ("REDIS_URL", "valkey+cluster://h:1?db=3", "database 0 only"),
        ("REDIS_URL", "valkey+cluster://", "host:port"),
        ("REDIS_URL", "valkey+cluster://h:1,,k:2", "host:port"),
        ("REDIS_URL", "valkey+cluster://h:one", "host:port"),
        ("REDIS_URL", "valkey+cluster://h:70000", "host:port"),
        ("REDIS_URL", "valkey+cluster://" + ",".join(["h:1"] * 65), "more than 64"),
        ("REDIS_URL", "redis://h:1,k:2/0", "valkey+cluster://"),
        ("REDIS_URL", "http://h", "valkey+cluster://"),
        ("QUEUE_URL", "valkey+cluster://h:1", "do not run on a cluster"),
        ("QUEUE_URL", "http://h", "redis://"),
    ],
)
def test_it_says_what_is_wrong_with_the_address_of_a_store(variable: str, value: str, words: str) -> None:
    with pytest.raises(SettingError) as caught:
        Settings.from_environment({f"LATEBIND_{variable}": value})
    assert caught.value.variable == f"LATEBIND_{variable}"
    assert words in str(caught.value)


def test_it_reads_where_a_clusters_nodes_are() -> None:
    address = cluster_address(CLUSTER)
    assert address.places == (("10.0.0.1", 6379), ("::1", 7000))
    urls = [address.node(place) for place in address.places]
    assert urls == ["redis://:s3cret@10.0.0.1:6379", "redis://:s3cret@[::1]:7000"]
    secure = cluster_address("rediss+cluster://u%40:p%2F@h")
    assert secure.node(Place("k", 1)) == "rediss://u%40:p%2F@k:1"
