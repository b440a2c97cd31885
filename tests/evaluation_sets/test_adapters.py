"""Adapters and protocols on tiny files: columns become signals and offers, and what is missing is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from base.errors import InvalidInput
from tests.evaluation_sets.conftest import written
from workers.commands.evaluate import command
from workers.evaluation import Interval
from workers.evaluation_sets import findings, hillstrom, openbandit, sessions, tables, upworthy
from workers.evaluation_sets.opens import ratio
from workers.evaluation_sets.past import Past, Walk
from workers.evaluation_sets.retail import Retail
from workers.fitting import stretches
from workers.restraint import restraint


def test_it_reads_a_retail_year_as_orders_and_campaigns(shop: Path) -> None:
    retail = Retail.read(shop)
    bread, tea = (number for number, name in retail.names.items() if name in ("BREAD", "TEA"))
    first = retail.orders[1][0]
    assert [(line.category, line.quantity, line.cents) for line in first.lines] == [(bread, 2, 200), (tea, 1, 300)]
    assert retail.orders[2][0].lines[0].quantity == 1  # three thousand "pieces" are thousandths of a gallon
    (campaign,) = retail.campaigns
    assert (campaign.starts, campaign.ends, campaign.households, campaign.coupons) == (31, 50, (1, 2), {bread: 1})
    assert (retail.redemptions[0].category, retail.redemptions[0].day) == (bread, 40)
    assert retail.candidates == ()  # nobody sells to a hundred households here


def test_it_walks_a_household_by_what_was_known_when_a_day_began(shop: Path) -> None:
    retail = Retail.read(shop)
    walk = Walk(retail.orders[1])
    assert [walk.at(day).orders for day in (3, 4, 40, 41, 365)] == [0, 1, 1, 2, 3]
    assert walk.at(365).coupon_orders == 1


def test_it_counts_only_the_days_asked_for(shop: Path) -> None:
    retail = Retail.read(shop)
    bread = next(number for number, name in retail.names.items() if name == "BREAD")
    past = Past(Retail(retail.orders, retail.names, (bread,), retail.campaigns, retail.redemptions))
    assert past.orders(1, 3, 41).tolist() == [2]
    assert past.orders(1, 4, 40).tolist() == [0]
    assert past.popular(41).tolist() == [1]
    assert past.context(40, bread).taken == 0  # used on that day, so not yet when it began
    assert past.context(41, bread).taken == pytest.approx(2 ** (-1 / 120))


@pytest.mark.parametrize("name", ["transactions", "products", "coupons", "campaigns", "coupon_redemptions"])
def test_it_names_the_file_that_is_missing(shop: Path, name: str) -> None:
    (shop / f"{name}.parquet").unlink()
    with pytest.raises(InvalidInput, match=f"{name}.parquet"):
        Retail.read(shop)


def test_it_names_the_columns_that_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "hillstrom.csv"
    pa_csv.write_csv(pa.table({"recency": [1], "mens": [1]}), str(path))
    with pytest.raises(InvalidInput, match="history, womens"):
        tables.read(path, ("recency", "history", "mens", "womens"))
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(InvalidInput, match="cannot be read"):
        tables.read(tmp_path / "torn.parquet", ("recency",))


def mailing(folder: Path, rows: int = 6_000, lift: float = 0.0) -> Path:
    """A mailing in which the men's mail is best for all, but for buyers of women's things by `lift`."""
    random = np.random.default_rng(1)
    womens = random.random(rows) < 0.5
    arm = random.integers(0, 3, rows)
    rate = np.array([0.10, 0.30, 0.05])[arm] + np.where(womens & (arm == 2), 0.10 + lift, 0.0)
    visit = (random.random(rows) < rate).astype(int)
    return written(
        folder, "hillstrom", recency=random.integers(1, 12, rows), history=random.uniform(30, 900, rows),
        mens=(~womens).astype(int), womens=womens.astype(int), segment=[hillstrom.ARMS[one] for one in arm],
        visit=visit, spend=visit * 20.0,
    )  # fmt: skip


def test_it_finds_a_large_effect(tmp_path: Path) -> None:
    customers = hillstrom.read(mailing(tmp_path, rows=7_000, lift=0.30))
    chosen = hillstrom._choices(customers, customers.visits, customers.visits, seed=0)
    assert (chosen[customers.womens_only] == hillstrom.WOMENS).mean() > 0.9
    assert hillstrom._gain(customers, customers.visits, chosen).low > 0


def test_it_leaves_the_best_offer_only_where_outcomes_show_a_gain() -> None:
    random = np.random.default_rng(4)
    rows = 20_000
    shown, segment = random.integers(0, 2, rows), random.random(rows) < 0.3
    promised = np.column_stack([np.full(rows, 0.20), np.where(segment, 0.26, 0.19)])
    half = np.full(rows, 0.5)
    for lift in (0.0, 0.06):
        true = np.column_stack([np.full(rows, 0.20), np.where(segment, 0.20 + lift, 0.15)])
        rewards = (random.random(rows) < true[np.arange(rows), shown]).astype(np.float64)
        chosen = restraint(promised, shown, rewards, half).choose(promised)
        # The model promises a gain in both worlds; only one of them keeps the promise.
        assert chosen[segment].tolist() == [int(lift > 0)] * int(segment.sum())
        assert not chosen[~segment].any()


def test_it_refuses_arms_that_the_mailing_had_not(tmp_path: Path) -> None:
    path = mailing(tmp_path, rows=30)
    table = pq.read_table(str(path))
    renamed = table.set_column(table.column_names.index("segment"), "segment", pa.array(["Kids E-Mail"] * 30))
    pq.write_table(renamed, str(path))
    with pytest.raises(InvalidInput, match="Kids E-Mail"):
        hillstrom.read(path)


def test_it_refuses_to_value_a_log_that_hangs_on_one_row(tmp_path: Path) -> None:
    clicks, propensities = np.zeros(2_000, dtype=int), np.full(2_000, 1 / 46)
    clicks[::50], propensities[7] = 1, 1e-6
    written(tmp_path, "obd_bts_women", click=clicks, propensity_score=propensities)
    told = {one.measure: one for one in openbandit.judged(tmp_path)}
    refusal = told["an interval is told (1) or refused (0)"]
    assert (refusal.value, refusal.met) == (0.0, True)
    assert told["effective sample size"].value < 5
    assert told["IPS, clicks per hundred"].met is False
    with pytest.raises(InvalidInput, match="obd_bts"):
        openbandit.judged(tmp_path / "obd_bts_women.parquet" / "nowhere")


def test_it_alarms_where_arms_are_served_in_blocks_and_explores_what_clicks(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    rows = []
    for number in range(60):
        broken = number < 20
        shown = [3000, 2000] if broken else random.multinomial(5000, [0.5, 0.5]).tolist()
        rows += [(f"t{number}", 201330 if broken else 201410, shown[arm], int(shown[arm] * (0.01, 0.03)[arm]))
                 for arm in (0, 1)]  # fmt: skip
    names = ("clickability_test_id", "test_week", "impressions", "clicks")
    written(tmp_path, "upworthy", **dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    told = upworthy.judged(tmp_path)
    alarms = [one.value for one in told if "one look" in one.measure]
    assert alarms == [1.0, 0.0]
    assert told[-4].value > 0.6


def test_it_loses_what_is_withheld_of_a_session(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    # Walks along a ring: the next product stands by the last one, so older clicks tell less.
    walks = [[int(start + step) % 300 for step in range(10)] for start in random.integers(0, 300, 900)]
    written(tmp_path, "diginetica", items=walks)
    told = {one.measure: one.value for one in sessions.judged(tmp_path)}
    assert told["recall@20"] > 0.9
    assert told["fresh minus withheld"] >= 0
    with pytest.raises(InvalidInput, match="too few sessions"):
        sessions.read(written(tmp_path, "few", items=[[1, 2]]))


def test_it_says_what_met_its_bar_and_what_missed(tmp_path: Path) -> None:
    told = [
        findings.least("q", "gain", Interval(0.2, -0.1, 0.5), 0.0, of_low=True),
        findings.most("q", "alarms", 0.005, 0.01),
        findings.holds("q", "ratio", Interval(1.1, 0.9, 1.3), 1.0),
        findings.within("q", "mean", 1.2, 0.9, 1.1),
        findings.reported("r", "rows", 5.0),
    ]
    assert [one.met for one in told] == [False, True, True, False, None]
    lines = findings.table(told)
    assert (lines[0], sum("MISSED" in line for line in lines)) == ("q", 2)
    assert findings.document("set", told, 1.25)["findings"][0]["bar"] == "lower end ≥ 0"


def test_it_runs_as_a_command_and_writes_json(tmp_path: Path) -> None:
    written(tmp_path, "obd_bts_men", click=[0, 1] * 500, propensity_score=[1 / 34] * 1000)
    out = tmp_path / "found.json"
    done = CliRunner().invoke(command, ["open-bandit", "--data", str(tmp_path), "--json", str(out)])
    assert done.exit_code == 0, done.output
    assert "effective sample size" in done.output
    assert json.loads(out.read_text())["dataset"] == "open-bandit"
    without = CliRunner().invoke(command, ["open-bandit"])
    assert isinstance(without.exception, InvalidInput)


def test_it_cuts_time_into_blocks_of_whole_days_and_tells_ratios() -> None:
    days = np.repeat(np.arange(8), 5)
    cut = stretches(days, np.ones(40), 4)
    assert cut.tolist() == np.repeat([0, 0, 1, 1, 2, 2, 3, 3], 5).tolist()
    found = ratio(np.full(200, 0.5), np.tile([0.0, 1.0], 100), np.arange(200))
    assert found.value == pytest.approx(1.0)
    assert found.low < 1 < found.high
