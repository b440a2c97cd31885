"""Numbers of things in words."""

from base.counting import count


def test_it_says_one_of_a_thing_and_several() -> None:
    assert [count(number, "feed") for number in (0, 1, 2, 1200)] == ["0 feeds", "1 feed", "2 feeds", "1,200 feeds"]
    assert [count(number, "person", "people") for number in (1, 2)] == ["1 person", "2 people"]
