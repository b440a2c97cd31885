"""Text setting: widths and lines are kept, nothing is lost unless it is cut, and each script reads as it should."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from render.binding import clean
from render.fonts import LATIN
from render.layout import ELLIPSIS, Block, Style, _Setter, set_text
from render.script import clusters, levels, may_break, pauses, visual_order
from tests.render.drawing import fonts

LONG = "Extraordinarily durable waterproof shoes for wide feet on steep trails, size 7.5, midnight blue and coral"


def lines_of(text: str, width: int, style: Style) -> list[str]:
    """The lines as texts, in reading order."""
    setter = _Setter(fonts(), style, style.rtl, width)
    atoms = setter.atoms(text)
    size = setter.fitting_size(atoms)
    lines = setter.balanced(atoms, size) if size is not None else setter.cut(text)
    return ["".join((" " if n and atom.space else "") + atom.text for n, atom in enumerate(line)) for line in lines]


def widest(block: Block) -> float:
    return max((line.width for line in block.lines), default=0)


@settings(max_examples=120)
@given(
    st.text(max_size=120).map(clean),
    st.integers(120, 900),
    st.integers(1, 4),
    st.integers(16, 72),
    st.booleans(),
)
def test_it_keeps_to_the_width_and_the_lines(text: str, width: int, lines: int, size: int, rtl: bool) -> None:
    block = set_text(fonts(), text, width, Style(size, min(size, 22), lines, 600, rtl))
    assert len(block.lines) <= lines
    assert widest(block) <= width
    assert block.size <= size


@settings(max_examples=80)
@given(st.lists(st.text(LATIN.replace(" ", ""), min_size=1, max_size=12), min_size=1, max_size=6))
def test_it_loses_nothing_that_fits(words: list[str]) -> None:
    text = " ".join(words)
    assert " ".join(lines_of(text, 4000, Style(20, 20, 9))).replace(" ", "") == text.replace(" ", "")


@settings(max_examples=80)
@given(st.text(LATIN, max_size=60).map(clean))
@example("1/²-½–¾/a")
def test_it_splits_plain_latin_as_the_general_way_does(text: str) -> None:
    quick = _Setter(fonts(), Style(20, 20), False, 300).atoms(text)
    general = _Setter(fonts(), Style(20, 20), False, 300)
    general.fonts = _Picking()
    slow = general.atoms(text)
    assert [(atom.text, atom.runs) for atom in quick] == [(atom.text, atom.runs) for atom in slow]
    assert [atom.space for atom in quick][1:] == [atom.space for atom in slow][1:]


class _Picking(type(fonts())):  # type: ignore[misc]
    """The same fonts without the shortcut."""

    def __init__(self) -> None:
        self.__dict__.update(fonts().__dict__)
        self.plain = None


def test_it_shrinks_before_it_cuts() -> None:
    text = "Fresh running shoes for less"
    roomy = set_text(fonts(), text, 900, Style(68, 40, 2, 700))
    tight = set_text(fonts(), text, 420, Style(68, 40, 2, 700))
    assert roomy.size == 68
    assert 40 <= tight.size < 68
    assert ELLIPSIS not in "".join(lines_of(text, 420, Style(68, 40, 2, 700)))


def test_it_cuts_between_words_with_an_ellipsis() -> None:
    lines = lines_of(LONG, 500, Style(60, 40, 2, 700))
    assert len(lines) == 2
    assert lines[-1].endswith(ELLIPSIS)
    assert LONG.startswith(" ".join(lines).removesuffix(ELLIPSIS))
    assert LONG[len(" ".join(lines)) - 1] == " "


def test_it_breaks_a_word_wider_than_the_line() -> None:
    word = "Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz"
    assert "".join(lines_of(word, 400, Style(40, 36, 4))) == word


def test_it_balances_lines() -> None:
    lines = lines_of("One two three four five six seven eight", 560, Style(40, 40, 3))
    lengths = [len(line) for line in lines]
    assert len(lines) == 2
    assert max(lengths) - min(lengths) <= 6


def test_it_keeps_what_belongs_together() -> None:
    assert clusters("e\u0301क्षि👨‍👩‍👧🇩🇪กำ") == ["e\u0301", "क्षि", "👨‍👩‍👧", "🇩🇪", "กำ"]
    assert clusters("👍🏽a") == ["👍🏽", "a"]


def test_it_breaks_unspaced_writing_where_a_reader_pauses() -> None:
    assert lines_of("从速溶到现磨咖啡，全新升级体验", 560, Style(64, 40, 2)) == ["从速溶到现磨咖啡，", "全新升级体验"]
    assert "ครอบครัว" in "".join(lines_of("ผลไม้สดใหม่สำหรับครอบครัวของคุณทุกวัน", 500, Style(56, 30, 3)))
    points = pauses("軽くて速乾性のある", "ja")
    assert points is not None
    assert 3 in points


def test_it_begins_no_line_with_closing_punctuation() -> None:
    assert not may_break("咖", "，")
    assert not may_break("（", "咖")
    assert may_break("咖", "啡")
    for width in range(140, 600, 20):
        lines = lines_of("「ランニング」、ウェア。（新品）を、今だけ！お得に。", width, Style(40, 20, 6))
        assert not any(line[0] in "」、。）！" for line in lines)


@pytest.mark.parametrize(
    ("text", "rtl", "expected"),
    [
        ("abc", False, [0, 0, 0]),
        ("אבג", True, [1, 1, 1]),
        ("אב 12", True, [1, 1, 1, 2, 2]),
        ("a בג", False, [0, 0, 1, 1]),
        ("12%", True, [2, 2, 2]),
    ],
)
def test_it_knows_which_way_letters_run(text: str, rtl: bool, expected: list[int]) -> None:
    assert levels(text, rtl) == expected


def test_it_orders_runs_as_they_are_read_on_the_page() -> None:
    assert visual_order([0, 0, 1, 1, 0]) == [0, 1, 3, 2, 4]
    assert visual_order([1, 1, 2, 2, 1]) == [4, 2, 3, 1, 0]
    assert visual_order([]) == []


@given(st.lists(st.integers(0, 4), max_size=12))
def test_it_orders_every_run_once(given_levels: list[int]) -> None:
    assert sorted(visual_order(given_levels)) == list(range(len(given_levels)))


@given(st.text(max_size=60), st.booleans())
def test_it_gives_a_level_to_every_character(text: str, rtl: bool) -> None:
    assert len(levels(clean(text), rtl)) == len(clean(text))


def test_it_leaves_out_what_no_font_holds() -> None:
    block = set_text(fonts(), "A\U00013000B", 500, Style(40, 40))
    assert widest(block) == pytest.approx(widest(set_text(fonts(), "AB", 500, Style(40, 40))), abs=2)
    assert set_text(fonts(), "\U00013000", 500, Style(40, 40)).lines == ()
    assert set_text(fonts(), "", 500, Style(40, 40)).height == 0


def test_it_gives_tall_scripts_taller_lines() -> None:
    latin = set_text(fonts(), "one\ntwo", 500, Style(40, 40, 2, 700))
    thai = set_text(fonts(), "ผลไม้\nสดใหม่", 500, Style(40, 40, 2, 700))
    assert thai.line_height > latin.line_height
