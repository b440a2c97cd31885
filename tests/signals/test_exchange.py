"""Money in several currencies: added up in the own one, at the rate of each order's day, and never as if it were."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from base.errors import InvalidInput
from signals import exchange, rules_sql
from signals.currencies import PAR, exchanged, told_in, worth
from signals.exchange import Given, Rate
from signals.fold import fold_all
from signals.profiles import ProfileStateRow
from signals.rebuild import rebuild
from signals.rules import parse
from tests.signals.sending import NOW, Desk, call
from tests.signals.stories import event, item
from tests.signals.test_import import cli
from workers.commands import currency
from workers.commands.currency import command
from workers.commands.rebuild import command as rebuild_command

__all__ = ["cli"]

RATES = ("USD,2026-02-01,0.80", "USD,2026-02-10,0.90", "JPY,2026-01-01,0.006125")


def told(event: str, user: str, order_id: str, day: int, **properties: Any) -> dict[str, Any]:
    """What is said of an order on a day of February."""
    said = {"order_id": order_id} | {name: value for name, value in properties.items() if value is not None}
    return call("track", event=event, userId=user, properties=said, timestamp=f"2026-02-{day:02}T10:00:00Z")


def paid(user: str, order_id: str, day: int, total: float, currency: str | None) -> dict[str, Any]:
    """An order of one pair of shoes for all of its money."""
    line = {"product_id": "p1", "category": "Shoes", "price": total, "quantity": 1}
    return told("Order Completed", user, order_id, day, total=total, currency=currency, products=[line])


def adding_up(desk: Desk, *rows: str, own: str = "EUR") -> list[int]:
    """Add up in a currency at these rates; who is to be folded again."""
    given = Given()
    with desk.sessions.begin() as session:
        exchange.set_own(session, own, NOW)
        rates = list(exchange.read_rates(["currency,day,rate", *rows], own, given))
        exchange.give(session, rates, own, given)
    assert given.bad == []
    with desk.sessions.begin() as session:
        found = exchange.due(session)
        people = exchange.concerned(session, found)
        exchange.done(session, found)
        return people


@given(st.integers(0, 10**12), st.integers(1, 10**6 * PAR - 1), st.integers(1, 10**6 * PAR - 1))
def test_it_reckons_to_the_nearest_cent_halves_up(cents: int, rate: int, other: int) -> None:
    scaled = Decimal(rate).scaleb(-10)
    exact = (Decimal(cents) * scaled).quantize(Decimal(1), ROUND_HALF_UP) if cents < 10**9 and rate < 10**15 else None
    assert exact is None or worth(cents, rate) == exact
    back = exchanged(-cents, rate, other)
    assert back is not None
    assert abs(2 * back * other - 2 * cents * rate) <= other
    assert (exchanged(cents, rate, rate), exchanged(cents, 0, rate), exchanged(cents, rate, 0)) == (cents, None, None)


@pytest.mark.parametrize(
    ("value", "currency"),
    [
        (None, ""),
        ("", ""),
        ("usd", "USD"),
        ("EUR", "EUR"),
        ("€", "XXX"),
        (" eur ", "EUR"),
        ("EURO", "XXX"),
        ("ß1a", "XXX"),
        (7, "XXX"),
    ],
)
def test_it_takes_what_is_no_code_for_no_currency(value: object, currency: str) -> None:
    assert told_in(value) == currency


def test_an_order_is_worth_its_own_days_rate_however_much_later_it_is_given_back() -> None:
    first, other = datetime(2026, 1, 6, tzinfo=UTC), datetime(2026, 1, 7, tzinfo=UTC)  # A tenth lies between the rates.
    lines = [item("shoes", price=60), item("socks", price=40)]
    dollars = {"order_id": "o", "currency": "USD", "total": 100, "products": lines}
    bought = event("Order Completed", dollars, at=first, id="o")
    refund = {"order_id": "o", "currency": "usd"}
    assert fold_all([bought]).order_cents == 10_134
    assert {line.cents for line in fold_all([bought]).recent} == {6_080, 4_053}
    half = fold_all([bought, event("Order Refunded", refund | {"total": 50}, at=other, id="r")])
    assert (half.orders, half.order_cents) == (1, 5_067)
    whole = fold_all([bought, event("Order Refunded", refund | {"total": 100}, at=other, id="r")])
    assert (whole.orders, whole.order_cents) == (0, 0)
    untold = fold_all([bought, event("Order Refunded", {"order_id": "o", "total": 100}, at=other, id="r")])
    assert untold.orders == 0, "a refund that tells no currency is in that of its order"
    euros = fold_all([bought, event("Order Refunded", {"order_id": "o", "total": 50, "currency": "EUR"}, id="r")])
    assert euros.order_cents == 10_134 - 5_000
    francs = {"order_id": "o", "total": 100, "currency": "CHF"}
    assert fold_all([bought, event("Order Refunded", francs, id="r")]).order_cents == 10_134, "nobody knows what it was"
    shoes = francs | {"products": [item("shoes")]}
    assert fold_all([bought, event("Order Refunded", shoes, id="r")]).order_cents == 4_053


def test_money_is_added_up_in_the_own_currency_and_without_a_rate_not_at_all(desk: Desk) -> None:
    calls = [
        paid("ann", "o1", 3, 100, "usd"), paid("ann", "o2", 9, 100, "USD"), paid("ann", "o3", 10, 100, "USD"),
        paid("ann", "o4", 11, 10_000, "JPY"), paid("ann", "o5", 12, 50, None), paid("ann", "o6", 13, 50, "EUR"),
        paid("ann", "o7", 14, 700, "CHF"), paid("ann", "o8", 15, 30, "pounds"),
    ]  # fmt: skip
    adding_up(desk, *RATES)
    desk.send(*calls)
    shoes = desk.category("shoes")
    state = desk.state(desk.root("user_id", "ann"))
    cents = 8_000 + 8_000 + 9_000 + 6_125 + 5_000 + 5_000
    assert (state.orders, state.order_cents) == (8, cents)
    assert (state.categories[shoes].n, state.categories[shoes].cents) == (8, cents)
    assert [line.cents for line in state.recent] == [8_000, 8_000, 9_000, 6_125, 5_000, 5_000, 0, 0]
    with desk.sessions.begin() as session:
        lacking = {(one.currency, one.orders, one.first) for one in exchange.lacking(session)}
        assert lacking == {("CHF", 1, date(2026, 2, 14)), ("XXX", 1, date(2026, 2, 15))}
        in_use = exchange.in_use(session, "EUR")
    assert in_use == {"USD": date(2026, 2, 10), "CHF": None, "EUR": None, "JPY": date(2026, 1, 1), "XXX": None}
    assert desk.rebuilt().different == 0


# In the place of the function that knows the rates: it counts how often it is asked.
COUNTING = """
    CREATE OR REPLACE FUNCTION exchange_rate_at(told text, moment timestamptz) RETURNS numeric LANGUAGE plpgsql AS $$
    BEGIN PERFORM nextval('times_asked'); RETURN 0; END $$
"""


def test_what_lacks_a_rate_is_told_by_the_day_and_each_day_is_asked_for_once(desk: Desk) -> None:
    adding_up(desk, "CHF,2026-02-16,0.95", "CHF,2026-02-20,0.96")
    desk.send(
        *(paid("ann", f"a{number}", 14, 10, "CHF") for number in range(5)),
        *(paid("bob", f"b{number}", 15, 10, "chf") for number in range(4)),
        *(paid("bob", f"c{number}", 16, 10, "CHF") for number in range(3)),
        *(paid("ann", f"d{number}", 16, 10, "EUR") for number in range(6)),
    )
    with desk.sessions() as session:
        found = [(one.currency, one.orders, one.first) for one in exchange.lacking(session)]
        assert found == [("CHF", 9, date(2026, 2, 14))]
        session.execute(text("CREATE SEQUENCE times_asked"))
        session.execute(text(COUNTING))
        found = [(one.currency, one.orders, one.first) for one in exchange.lacking(session)]
        assert found == [("CHF", 12, date(2026, 2, 14)), ("EUR", 6, date(2026, 2, 16))]
        assert session.scalar(text("SELECT last_value FROM times_asked")) == 4, "three days in one, one in the other"
        session.rollback()


def test_without_an_own_currency_amounts_are_added_up_as_they_are_told(desk: Desk) -> None:
    desk.send(paid("ann", "o1", 3, 100, "USD"), paid("ann", "o2", 4, 50, "EUR"), paid("ann", "o3", 5, 1, "pounds"))
    assert desk.state(desk.root("user_id", "ann")).order_cents == 15_100
    with desk.sessions.begin() as session:
        assert exchange.lacking(session) == []


@pytest.mark.feature("DE-03", "DE-32")
@pytest.mark.parametrize("seed", range(3))
def test_it_comes_to_the_same_whatever_came_first_orders_refunds_or_rates(desk: Desk, seed: int) -> None:
    chance = random.Random(seed)
    said = []
    for number in range(12):
        day, currency = chance.randint(1, 20), chance.choice(["USD", "JPY", "EUR", "CHF", None])
        said.append(paid("ann", f"o{number}", day, chance.randint(1, 9_999) / 100, currency))
        if chance.random() < 0.5:
            back = {
                "total": chance.randint(1, 9_999) / 100,
                "currency": chance.choice([currency, currency, "USD", None]),
            }
            said.append(told("Order Refunded", "ann", f"o{number}", chance.randint(1, 20), **back))
    adding_up(desk, *RATES)
    desk.send(*sorted(said, key=lambda one: one["timestamp"]))
    expected = desk.state(desk.root("user_id", "ann"))
    for run in range(3):
        user = f"ann-{run}"
        # Other rates first, given anew among the calls.
        others = [row if chance.random() < 0.5 else row[:-1] + "7" for row in chance.sample(RATES, 2)]
        with desk.sessions.begin() as session:
            session.execute(text("DELETE FROM exchange_rate"))
        adding_up(desk, *others)
        mine = [one | {"userId": user, "messageId": f"{run}-{one['messageId']}"} for one in said]
        chance.shuffle(mine)
        cut = chance.randrange(len(mine))
        for one in mine[:cut]:
            desk.send(one)
        rebuild(desk.intake, NOW, only=adding_up(desk, *RATES))
        for one in mine[cut:]:
            desk.send(one)
        found = desk.state(desk.root("user_id", user))
        assert (found.order_cents, found.categories, found.recent) == (
            expected.order_cents, expected.categories, expected.recent,
        ), run  # fmt: skip
    assert desk.rebuilt().different == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_window_of_a_rule_and_the_state_agree_on_what_was_given_back_in_which_currency(desk: Desk, seed: int) -> None:
    chance = random.Random(seed)
    adding_up(desk, *RATES)
    said = []
    for number in range(80):
        user, currency = f"u{number}", chance.choice(["USD", "usd", "JPY", "EUR", "CHF", "pounds", None])
        total = chance.choice([10, 12.34, 99.99])
        said.append(paid(user, f"{user}-o", chance.randint(1, 20), total, currency))
        for _ in range(chance.randint(0, 2)):
            back = chance.choice([total, total / 2, total * 0.8, total / 0.9, total * 0.006125, total * 200])
            refund: dict[str, Any] = {
                "total": round(back, 2),
                "currency": chance.choice([currency, None, "EUR", "USD", "CHF"]),
            }
            if chance.random() < 0.2:
                refund["products"] = [{"product_id": "p1"}]
            said.append(told("Order Refunded", user, f"{user}-o", chance.randint(1, 20), **refund))
    chance.shuffle(said)
    for start in range(0, len(said), 20):
        desk.send(*said[start : start + 20])
    rule = parse({"event": "Order Completed", "from": {"days_ago": 60}}, {})
    with desk.sessions.begin() as session:
        found = set(session.scalars(select(ProfileStateRow.profile_id).where(rules_sql.where(rule, NOW))))
    states = {root: desk.state(root) for root in (desk.root("user_id", f"u{number}") for number in range(80))}
    assert 20 < len(found) < 80
    assert found == {root for root, state in states.items() if state.orders == 1}


def test_rates_wait_for_who_is_writing_by_the_old_ones(desk: Desk) -> None:
    def at_once(session: Session) -> None:
        session.execute(text("SET LOCAL lock_timeout = '100ms'"))
        exchange.give(session, [Rate("USD", date(2026, 2, 1), Decimal("0.9"))], "EUR", Given())

    with desk.sessions() as writing, desk.sessions() as giving:
        exchange.hold(writing)
        with pytest.raises(OperationalError, match="lock timeout"):
            at_once(giving)
        giving.rollback()
        giving.execute(text("SET LOCAL lock_timeout = '100ms'"))
        exchange.hold(giving)  # Others who write are not in each other's way.
        giving.rollback()
        writing.rollback()
        at_once(giving)


def test_it_folds_again_whom_a_rate_concerns_and_nobody_else(desk: Desk) -> None:
    desk.send(paid("early", "o1", 3, 100, "USD"), paid("late", "o2", 12, 100, "USD"), paid("yen", "o3", 12, 1, "JPY"))
    people = {user: desk.root("user_id", user) for user in ("early", "late", "yen")}
    assert adding_up(desk) == sorted(people.values())
    given = Given()
    with desk.sessions.begin() as session:
        rates = list(exchange.read_rates(["currency,day,rate", "USD,2026-02-10,0.9"], "EUR", given))
        exchange.give(session, rates, "EUR", given)
        due = exchange.due(session)
        assert (given.changed, [(one.currency, one.since) for one in due]) == (1, [("USD", date(2026, 2, 10))])
        assert exchange.concerned(session, due) == [people["late"]]
        exchange.give(session, rates, "EUR", given)
        assert (given.changed, exchange.due(session)) == (0, due)
        earlier = Rate("USD", date(2026, 2, 1), Decimal("0.8"))
        exchange.give(session, [earlier], "EUR", given)
        exchange.done(session, due)
        session.expire_all()
        (left,) = exchange.due(session)
        assert left.since == earlier.day, "what became due anew meanwhile stays"
        assert exchange.concerned(session, [left]) == [people["early"], people["late"]]


def test_a_rebuild_names_what_older_versions_did_not_note(desk: Desk) -> None:
    desk.send(paid("old", "o1", 3, 10, "€"), paid("old", "o2", 4, 10, "EUR"))
    without = "CAST(CAST(figures AS jsonb) #- '{properties,currency}' AS json)"
    desk.run(f"UPDATE event SET figures = {without} WHERE order_id = 'o1'")
    desk.rebuilt()
    assert adding_up(desk) == [root := desk.root("user_id", "old")]
    desk.rebuilt()
    assert desk.state(root).order_cents == 1000
    with desk.sessions.begin() as session:
        assert [(one.currency, one.orders) for one in exchange.lacking(session)] == [("XXX", 1)]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ("euro,2026-02-01,1", "currency"), ("XXX,2026-02-01,1", "currency"), ("eur,2026-02-01,1", "currency"),
        ("USD,1.2.2026,1", "day"), ("USD,,1", "day"), ('USD,2026-02-01,"0,9"', "rate"), ("USD,2026-02-01,0", "rate"),
        ("USD,2026-02-01,-1", "rate"), ("USD,2026-02-01,nan", "rate"), ("USD,2026-02-01", "rate"),
        ("USD,2026-02-01,0.00000000001", "rate"), ("USD,2026-02-01,999999.99999999999", "rate"),
    ],
)  # fmt: skip
def test_it_names_what_is_wrong_with_a_rate_and_takes_the_others(row: str, field: str) -> None:
    lines = [
        "day,currency,rate",
        "2026-02-01,USD,0.9",
        ",".join([row.split(",")[1], row.split(",")[0], *row.split(",")[2:]]),
    ]
    given = Given()
    assert list(exchange.read_rates(lines, "EUR", given)) == [Rate("USD", date(2026, 2, 1), Decimal("0.9"))]
    ((line, fault),) = given.bad
    assert (line, fault.field, given.refused) == (3, field, 1)


def test_it_refuses_a_file_without_its_columns() -> None:
    with pytest.raises(InvalidInput, match="rate: must be a column"):
        list(exchange.read_rates(["currency;day;rate"[:12].replace(";", ",")], "EUR", Given()))


def run(cli: CliRunner, *arguments: str) -> Result:
    return cli.invoke(command, list(arguments))


def test_the_command_sets_the_currency_takes_rates_and_folds_again(desk: Desk, cli: CliRunner, tmp_path: Path) -> None:
    desk.send(paid("ann", "o1", 3, 100, "USD"), paid("ann", "o2", 12, 100, "CHF"))
    ann = desk.root("user_id", "ann")
    file = tmp_path / "rates.csv"
    file.write_text("currency,day,rate\nUSD,2026-02-01,0.8\nUSD,soon,0.9\n")
    early = run(cli, "rates", str(file))
    assert isinstance(early.exception, InvalidInput)
    assert "latebind currency set" in str(early.exception)
    assert isinstance(run(cli, "set", "euro").exception, InvalidInput)

    done = run(cli, "set", "eur")
    assert (done.exit_code, desk.state(ann).order_cents) == (0, 0), done.output
    done = run(cli, "rates", str(file))
    assert (done.exit_code, desk.state(ann).order_cents) == (1, 8_000)
    assert "1 rate new or another, 0 known, 1 refused" in done.output
    assert "line 3: day: must be a date" in done.output
    shown = run(cli, "show").output
    assert shown.splitlines() == [
        "Money is added up in EUR.", "CHF: no rate", "USD: newest rate of 2026-02-01",
        "1 order in CHF has no rate, the first of 2026-02-12",
    ]  # fmt: skip
    assert "0 different" in cli.invoke(rebuild_command).output
    assert run(cli, "unset").exit_code == 0
    assert desk.state(ann).order_cents == 20_000
    assert sorted(run(cli, "show").output.splitlines()) == [
        "CHF: told by orders", "Money is added up as it is told.", "USD: told by orders",
    ]  # fmt: skip


@pytest.mark.parametrize("again", ["rates", "rebuild"])
def test_what_an_interrupted_command_left_is_told_and_done_by_the_next(
    desk: Desk, cli: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    desk.send(paid("ann", "o1", 3, 100, "USD"))
    ann = desk.root("user_id", "ann")
    file = tmp_path / "rates.csv"
    file.write_text("currency,day,rate\nUSD,2026-02-01,0.8\n")
    assert run(cli, "set", "eur").exit_code == 0

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(currency, "rebuild", killed)
        assert run(cli, "rates", str(file)).exit_code == 1
    assert desk.state(ann).order_cents == 0
    assert exchange.INTERRUPTED in run(cli, "show").output
    done = run(cli, "rates", str(file)) if again == "rates" else cli.invoke(rebuild_command)
    assert (done.exit_code, desk.state(ann).order_cents) == (0, 8_000), done.output
    assert exchange.INTERRUPTED not in run(cli, "show").output
    assert "folded anew" not in run(cli, "rates", str(file)).output
