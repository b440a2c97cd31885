"""Set text in a width: measure with the real fonts, wrap, balance, shrink to a minimum, and only then cut it off.

All lengths here are output pixels (2x). A set text exceeds neither its width nor its lines; no glyph is cut through.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal

from render.fonts import LATIN, Fonts, Ink, Run
from render.script import clusters, first_direction, forbids_break, han_face, levels, may_break, pauses, visual_order

ELLIPSIS: Final = "…"
_LATIN: Final = re.compile(f"[\u00a0{re.escape(LATIN)}]*\\Z")
_LETTER: Final = r"[^\W\d_¹²³¼½¾]"
_PARTS: Final = re.compile(rf"(?:[^-–—/]|[-–—/](?!{_LETTER}))*(?:[-–—/](?={_LETTER})|\Z)")
SHRINK: Final = 0.94
"""Each step of shrinking: too small to be seen; from 56 to 24 pixels it takes 14."""


Breaks = Literal["words", "letters", "anywhere"]
"""Where a line may break: between words; between letters but not before a full stop; or, if need be, even there."""


@dataclass(frozen=True, slots=True)
class Style:
    """How to set a text. `size` and `min_size` are output pixels; `rtl` is the direction where letters have none."""

    size: int
    min_size: int
    max_lines: int = 1
    weight: int = 400
    rtl: bool = False
    locale: str = "en"


@dataclass(frozen=True, slots=True)
class Atom:
    """What no line break divides: runs with their levels, and whether a space, or a forced break, stands before it."""

    runs: tuple[tuple[Run, int], ...]
    text: str
    space: bool
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """Stamps from left to right, each with its pen position, and the width they take."""

    stamps: tuple[tuple[Ink, float], ...]
    width: float


@dataclass(frozen=True, slots=True)
class Block:
    """A set paragraph. Line `n` stands on the baseline `ascent + n * line_height` below the block's top."""

    lines: tuple[Line, ...]
    size: int
    ascent: int
    descent: int
    line_height: int
    rtl: bool

    @property
    def width(self) -> int:
        return round(max((line.width for line in self.lines), default=0) + 0.5)

    @property
    def height(self) -> int:
        return self.ascent + (len(self.lines) - 1) * self.line_height + self.descent if self.lines else 0


def set_text(fonts: Fonts, text: str, width: int, style: Style) -> Block:
    """Set a text in `width` output pixels. What no font holds is left out; nothing to set gives no lines."""
    direction = first_direction(text)
    rtl = style.rtl if direction is None else direction
    setter = _Setter(fonts, style, rtl, max(1, width))
    atoms = setter.atoms(text)
    if not atoms:
        return setter.block([], style.size)
    size = setter.fitting_size(atoms)
    if size is not None:
        return setter.block(setter.balanced(atoms, size), size)
    return setter.block(setter.cut(text), style.min_size)


class _Setter:
    """One paragraph being set: the fonts, the style and the width it must keep."""

    def __init__(self, fonts: Fonts, style: Style, rtl: bool, width: int) -> None:
        self.fonts = fonts
        self.style = style
        self.rtl = rtl
        self.width = width

    def atoms(self, text: str, breaks: Breaks = "words") -> list[Atom]:
        """Split a text into atoms at the given breaks."""
        atoms: list[Atom] = []
        for number, paragraph in enumerate(text.split("\n")):
            started = True
            for atom in self._paragraph(paragraph, breaks):
                atoms.append(Atom(atom.runs, atom.text, atom.space, forced=started and number > 0))
                started = False
        return atoms

    def _paragraph(self, text: str, breaks: Breaks) -> Iterator[Atom]:
        if self.fonts.plain is not None and breaks == "words" and not self.rtl and _LATIN.match(text):
            yield from self._latin(text, self.fonts.plain)
            return
        han = han_face(text, self.style.locale)
        points = pauses(text, self.style.locale) if breaks == "words" else None
        running = levels(text, self.rtl)
        word: list[tuple[str, int, int]] = []
        space, at, face = False, 0, -1
        for cluster in clusters(text):
            level = running[at]
            if word and (cluster == " " or _breaks(word[-1][0], cluster, breaks, points, at)):
                yield _atom(word, space)
                word, space = [], False
            at += len(cluster)
            if cluster == " ":
                space = True
                continue
            picked = self.fonts.pick(cluster.replace("\u00a0", " "), face if not cluster[0].isalnum() else -1, han)
            if picked is not None:
                face = picked
                word.append((cluster, level, picked))
        if word:
            yield _atom(word, space)

    @staticmethod
    def _latin(text: str, face: int) -> Iterator[Atom]:
        """Split plain Latin text, by far the most common, into what the general way gives, at a tenth of its cost."""
        for word in text.split(" "):
            space = True  # Ignored at the start of a line, so the first word may claim one too.
            for part in _PARTS.findall(word):
                if part:
                    yield Atom(((Run(face, part.replace("\u00a0", " ")), 0),), part, space)
                    space = False

    def fitting_size(self, atoms: list[Atom]) -> int | None:
        """Return the largest size at which the atoms fit, or None if even the smallest is too large.

        Widths scale nearly with size, so sizes are first tried on widths measured once; only the one that seems to fit
        is measured exactly, since measuring at a new size costs more than all the arithmetic.
        """
        size, style = self.style.size, self.style
        widths = [self._width(atom, size) for atom in atoms]
        while size > style.min_size and not self._fits(atoms, [w * size / style.size for w in widths], size):
            size = max(style.min_size, int(size * SHRINK))
        while True:
            exact = [self._width(atom, size) for atom in atoms]
            if self._fits(atoms, exact, size):
                return size
            if size <= style.min_size:
                return None
            size = max(style.min_size, int(size * SHRINK))

    def _fits(self, atoms: list[Atom], widths: list[float], size: int) -> bool:
        return max(widths) <= self.width and len(self._wrap(atoms, widths, size, self.width)) <= self.style.max_lines

    def _wrap(self, atoms: list[Atom], widths: list[float], size: int, width: float) -> list[list[int]]:
        """Fill lines greedily; returns the atoms' indices of each line."""
        gap = self._space(size)
        lines: list[list[int]] = []
        used = 0.0
        for index, atom in enumerate(atoms):
            lead = gap if atom.space else 0.0
            if lines and not atom.forced and used + lead + widths[index] <= width:
                lines[-1].append(index)
                used += lead + widths[index]
            else:
                lines.append([index])
                used = widths[index]
        return lines

    def balanced(self, atoms: list[Atom], size: int) -> list[list[Atom]]:
        """Wrap so that lines are about equally long: the narrowest width that needs no more lines."""
        widths = [self._width(atom, size) for atom in atoms]
        lines = self._wrap(atoms, widths, size, self.width)
        if 1 < len(lines) <= 4:
            low, high = max(max(widths), self.width * 0.4), float(self.width)
            while high - low > size / 4:
                middle = (low + high) / 2
                if len(self._wrap(atoms, widths, size, middle)) <= len(lines):
                    high = middle
                else:
                    low = middle
            lines = self._wrap(atoms, widths, size, high)
        return [[atoms[index] for index in line] for line in lines]

    def cut(self, text: str) -> list[list[Atom]]:
        """Set at the smallest size, cutting words that are wider than a line, then the end of the text.

        The end is cut between two words if one ends within the last third of what fits.
        """
        size = self.style.min_size
        parts = clusters(text)
        low, high = 0, len(parts)
        best: list[list[Atom]] = []
        most = 0
        while low <= high:
            kept = (low + high) // 2
            lines = self._lines(_shortened(parts, kept), size)
            if len(lines) <= self.style.max_lines:
                best, most, low = lines, kept, kept + 1
            else:
                high = kept - 1
        space = next((at for at in range(min(most, len(parts) - 1), most * 2 // 3, -1) if parts[at] == " "), 0)
        if most < len(parts) and space:
            whole = self._lines(_shortened(parts, space), size)
            return whole if len(whole) <= self.style.max_lines else best
        return best

    def _lines(self, text: str, size: int) -> list[list[Atom]]:
        atoms: list[Atom] = []
        for atom in self.atoms(text):
            if self._width(atom, size) <= self.width:
                atoms.append(atom)
            else:
                pieces = self.atoms(atom.text, "letters")
                if max(self._width(piece, size) for piece in pieces) > self.width:
                    pieces = self.atoms(atom.text, "anywhere")
                first = Atom(pieces[0].runs, pieces[0].text, atom.space, atom.forced)
                atoms.extend([first, *pieces[1:]])
        widths = [self._width(atom, size) for atom in atoms]
        return [[atoms[index] for index in line] for line in self._wrap(atoms, widths, size, self.width)]

    def _width(self, atom: Atom, size: int) -> float:
        return sum(self.fonts.advance(run, size, self.style.weight) for run, _ in atom.runs)

    def _space(self, size: int) -> float:
        return self.fonts.advance(Run(0, " "), size, self.style.weight)

    def block(self, lines: list[list[Atom]], size: int) -> Block:
        """Place the stamps of all lines, in visual order, and give the block the room its tallest face needs."""
        faces = {run.face for line in lines for atom in line for run, _ in atom.runs}
        shapes = [self.fonts.faces[face] for face in faces] or [self.fonts.faces[0]]
        airy = 1.16 if self.style.weight >= 600 else 1.38
        return Block(
            lines=tuple(self._place(line, size) for line in lines),
            size=size,
            ascent=round(size * max(shape.ascent for shape in shapes)),
            descent=round(size * max(shape.descent for shape in shapes)),
            line_height=round(size * max(airy, *(shape.leading for shape in shapes))),
            rtl=self.rtl,
        )

    def _place(self, line: list[Atom], size: int) -> Line:
        base = int(self.rtl)
        units: list[tuple[Run | None, int]] = []
        for number, atom in enumerate(line):
            if number and atom.space:
                # A space between two parts of one inner direction belongs to them, else to the paragraph.
                units.append((None, min(units[-1][1], atom.runs[0][1]) if units else base))
            units.extend(atom.runs)
        pen, stamps = 0.0, []
        for index in visual_order([level for _, level in units]):
            run = units[index][0]
            if run is None:
                pen += self._space(size)
                continue
            ink = self.fonts.ink(run, size, self.style.weight)
            stamps.append((ink, pen))
            pen += ink.advance
        return Line(tuple(stamps), pen)


def _breaks(before: str, after: str, breaks: Breaks, points: frozenset[int] | None, at: int) -> bool:
    """Tell whether a line may break at an offset: at trained pauses where there are any, under kinsoku."""
    if breaks == "anywhere":
        return True
    if points is not None or breaks == "letters":
        return (points is None or at in points) and not forbids_break(before, after)
    return may_break(before, after)


def _shortened(parts: list[str], kept: int) -> str:
    if kept == len(parts):
        return "".join(parts)
    return "".join(parts[:kept]).rstrip(" \n,.;:-–、。，") + ELLIPSIS


def _atom(word: list[tuple[str, int, int]], space: bool) -> Atom:
    """Join a word's clusters into runs of one face and one level."""
    runs = tuple(
        (Run(face, "".join(cluster for cluster, _, _ in part).replace("\u00a0", " "), bool(level & 1)), level)
        for (face, level), part in ((key, list(items)) for key, items in groupby(word, lambda unit: (unit[2], unit[1])))
    )
    return Atom(runs, "".join(cluster for cluster, _, _ in word), space)
