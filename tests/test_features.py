"""docs/features.md lists exactly the rows that marked tests, or dated benchmark figures, prove."""

from tests import features


def test_it_lists_every_marked_row_with_its_tests() -> None:
    listed = {mark: how for mark, (_, how) in features.listed().items() if not features.is_measured(how)}
    assert listed == {mark: features.proof(names) for mark, names in features.marked().items()}


def test_it_says_in_words_what_each_row_does() -> None:
    assert [mark for mark, (what, _) in features.listed().items() if len(what) < 15] == []
