"""Where requests come from: address ranges, bursts, and whom to believe about an address."""

from __future__ import annotations

from pathlib import Path

import pytest

from base.errors import SettingError
from render.facts import DAY_MS
from render.origin import MAX_RECIPIENTS, MAX_SOURCES, Origins, Ranges, read_ranges

RANGES = (("8.8.8.0/24", "google"), ("17.1.0.0/16", "relay"), ("2606:4700::/32", "gateway"))


def origins(*trusted: str) -> Origins:
    return Origins(trusted, Ranges(RANGES))


def from_(address: str, **headers: str) -> dict[str, object]:
    return {"REMOTE_ADDR": address, **headers}


@pytest.mark.parametrize(
    ("address", "network"),
    [("8.8.8.0", "google"), ("8.8.8.255", "google"), ("8.8.9.0", None), ("8.8.7.255", None), ("17.1.200.3", "relay"),
     ("::ffff:8.8.8.8", "google"), ("2606:4700::1", "gateway"), ("2606:4701::1", None), ("nonsense", None), ("", None)],
)  # fmt: skip
def test_it_knows_the_network_of_an_address(address: str, network: str | None) -> None:
    assert origins().features(from_(address), 1, 0).get("network") == network


def test_it_believes_nobody_but_our_own_balancers_about_an_address() -> None:
    forged = from_("9.9.9.9", HTTP_X_FORWARDED_FOR="8.8.8.8")
    assert origins().features(forged, 1, 0) == {}
    assert origins("9.9.9.0/24").features(forged, 1, 0) == {"network": "google"}
    # The client wrote the first hop itself; the last one that is not ours is the one that reached us.
    chain = from_("10.0.0.1", HTTP_X_FORWARDED_FOR="2606:4700::1, 8.8.8.8, 10.0.0.7")
    assert origins("10.0.0.0/8").features(chain, 1, 0) == {"network": "google"}
    assert origins("10.0.0.0/8").features(from_("10.0.0.1", HTTP_X_FORWARDED_FOR="?"), 1, 0) == {}


def test_it_counts_the_people_one_source_fetches_for_within_a_second() -> None:
    made = origins()
    counts = [made.features(from_("9.9.9.9"), one, 1000 + one).get("burst_recipients", 1) for one in (1, 2, 2, 3)]
    assert counts == [1, 2, 2, 3]
    assert made.features(from_("9.9.9.8"), 4, 1004) == {}
    assert made.features(from_("9.9.9.9"), 5, 2002) == {"burst_recipients": 2}
    assert made.features(from_("9.9.9.9"), 6, 9000) == {}
    assert made.features(from_("127.0.0.1"), 1, 0) == made.features(from_("127.0.0.1"), 2, 0) == {}


def test_it_keeps_bounded_hashes_for_a_day_and_no_address() -> None:
    made = origins()
    for number in range(MAX_SOURCES + 50):
        made.features(from_(f"9.{number // 256}.{number % 256}.1"), number, 0)
    for recipient in range(MAX_RECIPIENTS + 50):
        made.features(from_("9.9.9.9"), recipient, 1)
    assert len(made._seen) == MAX_SOURCES
    assert max(len(recent) for recent in made._seen.values()) == MAX_RECIPIENTS
    assert all(len(source) == 16 for source in made._seen)
    before = set(made._seen)
    made.features(from_("9.9.9.9"), 1, DAY_MS)
    assert len(made._seen) == 1
    assert not before & set(made._seen)


def test_it_reads_a_file_of_ranges_and_names_the_line_at_fault(tmp_path: Path) -> None:
    path = tmp_path / "ranges"
    path.write_text("# ours\n8.8.8.0/24 google  # checked in May\n\n17.1.0.0/16 relay\n")
    assert Origins((), read_ranges(path)).features(from_("17.1.2.3"), 1, 0) == {"network": "relay"}
    for text, fault in [
        ("8.8.8.0/24", "line 1: write a CIDR"),
        ("8.8.8.0/24 friends", "line 1: write a CIDR"),
        ("\n8.8.8.1/24 google", "line 2:"),
        ("8.8.8.0/24 google\n8.8.8.128/25 relay", "overlaps"),
    ]:
        path.write_text(text)
        with pytest.raises(SettingError, match=fault):
            read_ranges(path)
    with pytest.raises(SettingError, match="cannot be read"):
        read_ranges(tmp_path / "absent")
