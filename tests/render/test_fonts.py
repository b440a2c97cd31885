"""Fonts: every script has a face, nothing is set in boxes, and a lost file narrows the choice without breaking it."""

import shutil
import subprocess
import sys
import threading
import unicodedata
from pathlib import Path

import pytest

from render.fonts import FILES, LATIN, FontFile, Fonts, Run
from render.script import clusters
from tests.render.drawing import fonts

SENTENCES = {
    "inter": "Fresh shoes, 20% off – łąka, Ünïcödé, Ελλάδα, Київ ★ € ₴",
    "noto": "रोज़ की चाय अब कम दाम में",
    "hebrew": "תודה רבה",
    "arabic": "أحذية جري جديدة بخصم",
    "thai": "ผลไม้สดใหม่สำหรับครอบครัว",
    "cjk-zh-hans": "从速溶到现磨咖啡次のためのランニング자주사는커피를",
    "georgian": "გამარჯობა",
    "armenian": "Բարեւ",
    "bengali": "নমস্কার",
    "tamil": "வணக்கம்",
    "emoji": "🎉🥛👟🐶",
}


@pytest.mark.parametrize("face", SENTENCES)
def test_it_has_a_face_for_every_script(face: str) -> None:
    for cluster in clusters(SENTENCES[face].replace(" ", "")):
        picked = fonts().pick(cluster)
        assert picked is not None
        assert fonts().faces[picked].name == face


def test_it_finds_all_packages_of_the_lock_file() -> None:
    assert fonts().missing == ()
    assert len(fonts().faces) == len(FILES) + 1


def test_it_picks_no_face_for_what_none_holds() -> None:
    assert fonts().pick("\U00013000") is None
    assert fonts().pick("\u0378") is None
    assert fonts().pick("\U000f0000") is None


def test_it_inks_a_letter_differently_from_the_box_of_a_missing_one() -> None:
    for face, sentence in SENTENCES.items():
        number = next(n for n, file in enumerate(fonts().faces) if file.name == face)
        box = fonts().ink(Run(number, "\U00013000"), 40, 400)
        letters = [char for char in sentence if unicodedata.category(char)[0] == "L" or face == "emoji"]
        for char in letters:
            ink = fonts().ink(Run(number, char), 40, 400)
            assert ink.mask is not None
            assert box.mask is None or ink.mask.tobytes() != box.mask.tobytes()


def test_it_keeps_the_running_face_for_signs_that_many_hold() -> None:
    arabic = fonts().pick("ع")
    assert arabic is not None
    assert fonts().pick("%", prefer=arabic) == arabic
    assert fonts().pick("%") != arabic


def test_it_chooses_the_regional_shape_of_ideographs() -> None:
    picked = [fonts().pick("骨", han=f"cjk-{region}") for region in ("ja", "zh-hans", "zh-hant")]
    assert len(set(picked)) == 3


def test_it_sets_weights_apart() -> None:
    thin, bold = (fonts().ink(Run(0, "Shoes"), 40, weight) for weight in (400, 800))
    assert thin.mask is not None
    assert bold.mask is not None
    assert sum(bold.mask.tobytes()) > 1.2 * sum(thin.mask.tobytes())
    chinese = fonts().pick("走")
    assert chinese is not None
    thin, bold = (fonts().ink(Run(chinese, "走"), 40, weight) for weight in (400, 800))
    assert thin.mask is not None
    assert bold.mask is not None
    assert sum(bold.mask.tobytes()) > 1.1 * sum(thin.mask.tobytes())


def test_it_falls_back_to_other_faces_when_packages_are_missing() -> None:
    few = Fonts([FontFile("gone", "no_such_package_here", "x.ttf"), *FILES[1:2]])
    assert few.missing == ("gone",)
    assert few.pick("A") == 0
    assert few.faces[0].name == "noto"
    assert few.pick("走") is None


def test_it_still_writes_latin_without_any_file() -> None:
    bare = Fonts(())
    face = bare.pick("A")
    assert face is not None
    ink = bare.ink(Run(face, "Hello"), 40, 700)
    assert ink.mask is not None
    assert ink.advance > 40
    assert bare.pick("é") is None
    assert bare.plain is None


def test_it_survives_a_font_file_that_vanishes_while_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heebo = next(file for file in FILES if file.name == "hebrew")
    package = tmp_path / "vanishing_fonts"
    package.mkdir()
    source = fonts()._paths[[face.name for face in fonts().faces].index("hebrew")]
    shutil.copy(source, package / "font.ttf")
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    vanishing = Fonts([heebo._replace(package="vanishing_fonts", path="font.ttf")])
    before = vanishing.ink(Run(0, "שלום"), 40, 400)
    (package / "font.ttf").unlink()
    after = vanishing.ink(Run(0, "שלום"), 60, 700)
    assert before.mask is not None
    assert after.mask is not None


def test_it_reads_nothing_from_a_broken_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "broken_fonts"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "font.ttf").write_bytes(b"\x00\x01\x00\x00 this is no font")
    monkeypatch.syspath_prepend(str(tmp_path))
    broken = Fonts([FontFile("broken", "broken_fonts", "font.ttf")])
    assert broken.pick("é") is None
    assert broken.pick("A") == 1


def test_it_may_be_used_by_many_threads_at_once() -> None:
    shared = Fonts(FILES[:3])
    expected = {size: fonts().advance(Run(0, "Shoes"), size, 600) for size in range(20, 60)}
    found: list[bool] = []

    def work() -> None:
        for size, advance in expected.items():
            found.append(shared.advance(Run(0, "Shoes"), size, 600) == advance)
            found.append(shared.ink(Run(0, "Shoes"), size, 600).mask is not None)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6 * 2 * len(expected)
    assert all(found)


def test_it_knows_which_latin_needs_no_picking() -> None:
    assert fonts().plain == 0
    assert all(fonts().pick(char) == 0 for char in LATIN)


WARMED = """
from render.binding import resolve
from render.draw import compose
from render.fonts import Fonts
from render.samples import SAMPLE_AT_MS, SAMPLES
from render.starting import STARTING
from render.warmup import warm_up
fonts = Fonts.load()
warm_up(fonts)
opened = set(fonts._opened)
for one in STARTING:
    resolved = resolve(one, SAMPLES[one.id], at_ms=SAMPLE_AT_MS + 1000)
    compose(resolved, {}, (one.width, one.height), False, fonts)
print(len(opened) > 0, sorted(set(fonts._opened) - opened))
"""


def test_it_opens_the_usual_fonts_before_the_first_picture() -> None:
    # In a process of its own: words that other tests have set are kept, and want no font.
    done = subprocess.run([sys.executable, "-c", WARMED], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split(" ", 1) == ["True", "[]\n"]
