"""The alarms: one table of thresholds for the system page and for the rules that Prometheus is given.

`python -m campaigns.alarms` writes docs/alarms.yml. Alarms on what only render counts are in that file alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from base.counting import count
from campaigns import drift
from campaigns.watch import Measures

RULES: Final = Path(__file__).resolve().parent.parent / "docs" / "alarms.yml"
_PREFIX: Final = "latebind_"


@dataclass(frozen=True)
class Alarm:
    """Fires while its value is above the limit. `shown` formats value and limit; `advice` says what to look at."""

    name: str
    gauge: str
    title: str
    advice: str
    limit: float
    value: Callable[[Measures], float | None]
    shown: Callable[[float], str]


@dataclass(frozen=True)
class Standing:
    """An alarm as it stands. `is_firing` None: it cannot be told, since nothing happened or nobody answers."""

    alarm: Alarm
    value: str
    limit: str
    is_firing: bool | None


def _share(value: float) -> str:
    return f"{value * 100:.1f} %"


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 10 else f"{1000 * value:,.0f} ms"


def _psi(value: float) -> str:
    return f"PSI {value:.2f}"


def _campaigns(value: float) -> str:
    return count(round(value), "campaign")


def _feeds(value: float) -> str:
    return count(round(value), "feed")


def _records(value: float) -> str:
    return count(round(value), "record")


def _away(value: float) -> str:
    return "does not answer" if value else "answers"


ALARMS: Final = (
    Alarm(
        "StoreAway", "store_away", "The hot store does not answer",
        "Opens show defaults by the plans they hold (in a cluster those of the node that is away), records wait on "
        "disk. See that Valkey runs and has memory.",
        0, lambda seen: float(not seen.store_up), _away,
    ),
    Alarm(
        "RecordsBehind", "record_lag_seconds", "Records of opens wait",
        "Reports and the audit lag behind. See that a recorder runs and that the database takes writes.",
        10, lambda seen: seen.record_lag, _seconds,
    ),
    Alarm(
        "RecordsSetAside", "records_set_aside", "Records of opens cannot be stored",
        "Opens are missing from reports and the audit. See that render has the record key of the recorders, and then "
        "`latebind records show`.",
        0, lambda seen: seen.set_aside, _records,
    ),
    Alarm(
        "JobsBehind", "job_lag_seconds", "Jobs wait",
        "Mails leave late. See that the senders and workers run.",
        300, lambda seen: seen.job_lag, _seconds,
    ),
    Alarm(
        "FallbackShare", "fallback_share", "Pictures come from a fallback",
        "Readers see last decisions, defaults or static pictures. See /metrics of render for the reason.",
        0.05, lambda seen: seen.fallback_share, _share,
    ),
    Alarm(
        "ModelGone", "modelless_share", "Opens are decided without the model",
        "Campaigns that want a model are decided by their rules. See that the model's blob is there.",
        0.2, lambda seen: seen.modelless_share, _share,
    ),
    Alarm(
        "ModelDrifted", "model_drift", "People are not as a live model first met them",
        "See its page under Models for what has moved. Train again, and try the new model beside it.",
        drift.LIMIT, lambda seen: seen.model_drift, _psi,
    ),
    Alarm(
        "ModelPromises", "model_gap", "A live model promises what does not come true",
        "Far more or less is taken than it says, or than before of one category. See its page under Models.",
        drift.GAP, lambda seen: seen.model_gap, _share,
    ),
    Alarm(
        "OpensSlow", "open_p99_seconds", "One open of a hundred is slower than its deadline",
        "See the load of the render hosts, and how long Valkey takes.",
        0.25, lambda seen: seen.open_seconds.get(0.99), _seconds,
    ),
    Alarm(
        "CapsRefuse", "cap_refusal_share", "Caps refuse what was chosen",
        "Offers are used up while they are still chosen. Raise their caps or end them.",
        0.2, lambda seen: seen.cap_refusal_share, _share,
    ),
    Alarm(
        "SignalsQuiet", "signal_age_seconds", "No signal came in",
        "Offers are chosen by old knowledge. See that shops send, and that their keys are valid.",
        3600, lambda seen: seen.signal_age, _seconds,
    ),
    Alarm(
        "GroupsBroken", "broken_groups", "Groups of an experiment lost people",
        "Lifts of such a campaign mean nothing. Its results name the group: see who is not mailed or counted.",
        0, lambda seen: seen.broken_groups, _campaigns,
    ),
    Alarm(
        "FeedsStale", "stale_feeds", "A product feed is older than a campaign trusts it for",
        "Opens leave out offers that show a price or stock. See Product feeds for which it is, and that it is sent.",
        0, lambda seen: seen.stale_feeds, _feeds,
    ),
)  # fmt: skip

_OF_RENDER: Final = (
    (
        "PicturesUnrecorded", "increase(latebind_render_unrecorded_total[5m]) > 0",
        "Pictures left without a record: neither stream nor disk took it. See the store and the disk of the spool.",
    ),
    (
        "RenderCannotRead", "increase(latebind_render_unread_total[1m]) > 0",
        "A render host cannot read the hot store. See its network and the store.",
    ),
    (
        "RenderSheds", "increase(latebind_render_shed_total[5m]) > 0",
        "Render processes are behind and leave out models or decisions. Add processes or hosts.",
    ),
    (
        "SpoolGrows", "increase(latebind_render_spooled_total[10m]) > increase(latebind_render_unspooled_total[10m])",
        "Records wait on local disks. See that the store takes writes.",
    ),
)  # fmt: skip


def standings(seen: Measures) -> list[Standing]:
    """Every alarm as it stands, those that fire first."""
    made = []
    for alarm in ALARMS:
        value = alarm.value(seen)
        firing = None if value is None else value > alarm.limit
        made.append(Standing(alarm, "–" if value is None else alarm.shown(value), alarm.shown(alarm.limit), firing))
    return sorted(made, key=lambda one: one.is_firing is not True)


def gauges(seen: Measures) -> Iterator[Metric]:
    """What the alarms look at, and the decision mix, for Prometheus."""
    for alarm in ALARMS:
        value = alarm.value(seen)
        if value is not None:
            yield GaugeMetricFamily(_PREFIX + alarm.gauge, f"{alarm.title}: above {alarm.limit:g}.", value)
    times = GaugeMetricFamily(_PREFIX + "open_seconds", "Time of opens, last five minutes.", labels=["quantile"])
    for share, seconds in seen.open_seconds.items():
        times.add_metric([f"{share:g}"], seconds)
    yield times
    mix = GaugeMetricFamily(_PREFIX + "decisions", "New opens of the last five minutes by rung.", labels=["rung"])
    for rung, number in sorted(seen.decisions.items()):
        mix.add_metric([rung], number)
    yield mix


def rules() -> str:
    """The rule file for Prometheus."""
    shown = [(alarm.name, f"{_PREFIX}{alarm.gauge} > {alarm.limit:g}", alarm.advice) for alarm in ALARMS]
    lines = [
        "# Alarm rules for Prometheus, written by `python -m campaigns.alarms`. The limits are the system page's.",
        "groups:",
        "  - name: latebind",
        "    rules:",
    ]
    for name, expression, advice in (*shown, *_OF_RENDER):
        lines += [
            f"      - alert: {name}",
            f"        expr: {expression}",
            "        for: 1m",
            "        annotations:",
            f'          summary: "{advice}"',
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    RULES.write_text(rules())
