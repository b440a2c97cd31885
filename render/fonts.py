"""The fonts of pictures: which characters each file holds, which one sets a run, and the ink of a run.

Pillow has no fallback from font to font, so every run of text is given to the first face that holds all its characters.
All files come from packages (`FILES`); one that is missing only narrows what can be set, and `Fonts.missing` names it.
"""

import struct
import threading
from array import array
from collections.abc import Iterable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

from fontTools.ttLib import TTFont
from PIL import Image, ImageFont

from base.errors import StartError
from render.memo import Memo

MAX_FONT_OBJECTS: Final = 160
"""Open (face, size, weight) triples; one of the larger variable fonts holds about 0.5 MB once used."""
INK_BYTES: Final = 8_000_000
_CODEPOINTS: Final = 0x33480
"""One past the last ideograph of Unicode 16; what lies above is tags, variation selectors and private use."""


class FontFile(NamedTuple):
    """One face of a font package; `leading` is the least line height, in em, that keeps its lines apart."""

    name: str
    package: str
    path: str
    ttc_index: int = 0
    leading: float = 1.12
    ascent: float = 0.76
    descent: float = 0.22


_SCRIPTS: Final = (
    "Armenian", "Bengali", "Ethiopic", "Georgian", "Gujarati", "Gurmukhi", "Kannada", "Khmer", "Lao", "Malayalam",
    "Myanmar", "Oriya", "Sinhala", "Tamil", "Telugu",
)  # fmt: skip
FILES: Final = (
    FontFile("inter", "fontpkg_inter", "files/Inter[opsz,wght].ttf"),
    FontFile("noto", "fontpkg_noto_sans", "files/NotoSans[wdth,wght].ttf", 0, 1.36, 0.86, 0.28),
    FontFile("hebrew", "fontpkg_heebo", "files/Heebo[wght].ttf", 0, 1.18),
    FontFile("arabic", "fontpkg_noto_sans_arabic", "files/NotoSansArabic[wdth,wght].ttf", 0, 1.42, 0.86, 0.40),
    FontFile("thai", "fontpkg_noto_sans_thai", "files/NotoSansThai[wdth,wght].ttf", 0, 1.45, 1.0, 0.30),
    *(
        FontFile(f"cjk-{region}", "manimgx_fonts_cjk", "NotoSansCJK-VF.otf.ttc", index, 1.28, 0.86, 0.14)
        for index, region in enumerate(("ja", "ko", "zh-hans", "zh-hant", "zh-hk"))
    ),
    *(
        FontFile(script.lower(), "manimgx_fonts", f"NotoSans{script}[wght].ttf", 0, 1.45, 0.92, 0.32)
        for script in _SCRIPTS
    ),
    FontFile("emoji", "manimgx_fonts", "NotoEmoji[wght].ttf", 0, 1.2, 0.90, 0.22),
    FontFile("symbols", "manimgx_fonts", "NotoSansSymbols[wght].ttf", 0, 1.2),
)
_BUILTIN: Final = FontFile("builtin", "", "")
LATIN: Final = (
    "".join(map(chr, (*range(0x20, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x149), *range(0x14A, 0x180))))
    + "–—‘’“”„•…€"
)
_JOINERS: Final = frozenset("\u200c\u200d\ufe0e\ufe0f")


class Ink(NamedTuple):
    """A run as it is stamped: an 8-bit mask, where it lies from the pen on the baseline, and the pen's advance.

    Lengths are output pixels; `mask` is None for what leaves no ink, such as a space.
    """

    mask: Image.Image | None
    x: int
    y: int
    advance: float


class Run(NamedTuple):
    """Neighbouring characters of one face and one direction; a tuple because it is hashed a hundred times a picture."""

    face: int
    text: str
    rtl: bool = False


class Fonts:
    """Every face that could be loaded, shared by all threads; built once at start by `Fonts.load()`."""

    def __init__(self, files: Iterable[FontFile]) -> None:
        wanted = tuple(files)
        located = [(file, locate(file)) for file in wanted]
        usable = [(file, path) for file, path in located if path is not None]
        self.missing: tuple[str, ...] = tuple(file.name for file, path in located if path is None)
        self.faces: tuple[FontFile, ...] = (*(file for file, _ in usable), _BUILTIN)
        self._paths: tuple[Path, ...] = tuple(path for _, path in usable)
        self._covers = _coverage(self._paths, len(self.faces) - 1)
        self._number = {face.name: number for number, face in enumerate(self.faces)}
        self.plain = self._plain()
        _builtin(16)  # Says at the start, not at an open, that Pillow cannot draw text.
        self._opened: dict[tuple[int, int, int], ImageFont.FreeTypeFont] = {}
        self._lock = threading.Lock()
        self._ink: Memo[tuple[Run, int, int], Ink] = Memo(INK_BYTES, _ink_bytes)
        self._advance: Memo[tuple[Run, int, int], float] = Memo(8192, lambda _: 1)

    @classmethod
    def load(cls, files: Iterable[FontFile] = FILES) -> "Fonts":
        """Find the font packages and read their character maps: some 0.1 s; files are mapped, not copied."""
        return cls(files)

    def _plain(self) -> int | None:
        """Return the first face if it holds all of Latin with its accents: such text needs no picking."""
        return 0 if all(self._covers[ord(char)] & 1 for char in LATIN) else None

    def pick(self, cluster: str, prefer: int = -1, han: str = "cjk-zh-hans") -> int | None:
        """Return the face for one cluster of characters: `prefer` if it holds them, else the first that does, or None.

        `han` names the regional shape of ideographs, which Unicode shares between languages.
        """
        held = -1
        for char in cluster:
            if char not in _JOINERS:
                held &= self._held(char)
        if prefer >= 0 and held >> prefer & 1:
            return prefer
        regional = self._number.get(han, -1)
        for number, face in enumerate(self.faces):
            if held >> number & 1:
                return regional if face.name.startswith("cjk-") and regional >= 0 else number
        return None

    def _held(self, char: str) -> int:
        """Return a bit per face that holds the character; the built-in face is the last resort, for ASCII only."""
        code = ord(char)
        builtin = 1 << (len(self.faces) - 1) if 32 <= code < 127 else 0
        return (self._covers[code] if code < _CODEPOINTS else 0) | builtin

    def advance(self, run: Run, size: int, weight: int) -> float:
        """Return how far the pen moves over a run set at `size` output pixels."""
        return self._advance.get((run, size, weight), partial(self._measure, run, size, weight))

    def ink(self, run: Run, size: int, weight: int) -> Ink:
        """Return a run's ink at `size` output pixels; made once and kept while there is room."""
        return self._ink.get((run, size, weight), partial(self._rasterise, run, size, weight))

    def _measure(self, run: Run, size: int, weight: int) -> float:
        font = self._font(run.face, size, weight)
        return font.getlength(run.text, direction=_direction(font, run))

    def _rasterise(self, run: Run, size: int, weight: int) -> Ink:
        font = self._font(run.face, size, weight)
        advance = self.advance(run, size, weight)
        core, (x, y) = font.getmask2(run.text, "L", direction=_direction(font, run), anchor="ls")
        width, height = core.size
        if not width or not height:
            return Ink(None, 0, 0, advance)
        mask = Image.new("L", (width, height))
        mask.im.paste(core, (0, 0, width, height))
        return Ink(mask, x, y, advance)

    def _font(self, face: int, size: int, weight: int) -> ImageFont.FreeTypeFont:
        """Return the font object for a face; threads share it, so its axes are set before anyone sees it."""
        key = (face, size, weight)
        font = self._opened.get(key)
        if font is not None:
            return font
        with self._lock:
            if key not in self._opened:
                if len(self._opened) >= MAX_FONT_OBJECTS:
                    self._opened.pop(next(iter(self._opened)))
                self._opened[key] = self._open(face, size, weight)
            return self._opened[key]

    def _open(self, face: int, size: int, weight: int) -> ImageFont.FreeTypeFont:
        if face >= len(self._paths):
            return _builtin(size)
        try:
            font = ImageFont.truetype(
                self._paths[face], size, index=self.faces[face].ttc_index, layout_engine=ImageFont.Layout.RAQM
            )
            font.set_variation_by_axes([_axis_value(axis, size, weight) for axis in font.get_variation_axes()])
        except OSError:
            # The file went away while we run. Another size of this face may still be open; it serves better than boxes.
            return next((kept for key, kept in self._opened.items() if key[0] == face), _builtin(size))
        return font


def _builtin(size: int) -> ImageFont.FreeTypeFont:
    """Return the small Latin face inside Pillow, which is there when every file is lost."""
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise StartError("Pillow was built without FreeType, so it cannot draw text; install its wheel.")
    return font


def _direction(font: ImageFont.FreeTypeFont, run: Run) -> str | None:
    """Return the direction to shape in; the built-in face is set by the basic engine, which knows none."""
    if font.layout_engine == ImageFont.Layout.BASIC:
        return None
    return "rtl" if run.rtl else "ltr"


def locate(file: FontFile) -> Path | None:
    """Return where a font file lies, without importing its package."""
    spec = find_spec(file.package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, file.path)
        if path.is_file():
            return path
    return None


def _coverage(paths: tuple[Path, ...], builtin: int) -> "array[int]":
    """Return, for every code point, the faces that hold it as a bit each; a file that cannot be read holds nothing."""
    covers = array("Q", bytes(8 * _CODEPOINTS))
    read: dict[Path, list[int]] = {}
    for number, path in enumerate(paths):
        if path not in read:
            read[path] = _codepoints(path)
        bit = 1 << number
        for code in read[path]:
            covers[code] |= bit
    return covers


def _codepoints(path: Path) -> list[int]:
    """Return the code points a font file maps to a glyph."""
    try:
        with path.open("rb") as file, TTFont(file, fontNumber=0, lazy=True) as font:
            groups = _groups(font.reader["cmap"])
            if groups is None:
                return [code for code in font["cmap"].getBestCmap() if code < _CODEPOINTS]
    except Exception:  # noqa: BLE001 - fontTools raises anything from struct.error to AssertionError on a broken file.
        return []
    return [code for first, last, _ in groups for code in range(first, min(last + 1, _CODEPOINTS))]


def _groups(table: bytes) -> list[tuple[int, int, int]] | None:
    """Return the (first, last, glyph) groups of a character map in format 12, or None if it has none.

    fontTools names every glyph while reading a map: for the 44,810 of the CJK file that takes 0.3 s and 20 MB, and only
    the ranges matter here.
    """
    for record in range(struct.unpack_from(">H", table, 2)[0]):
        platform, encoding, offset = struct.unpack_from(">HHL", table, 4 + 8 * record)
        if (platform, encoding) in {(3, 10), (0, 4), (0, 6)} and struct.unpack_from(">H", table, offset)[0] == 12:
            count = struct.unpack_from(">L", table, offset + 12)[0]
            return list(struct.iter_unpack(">LLL", table[offset + 16 : offset + 16 + 12 * count]))
    return None


def _axis_value(axis: ImageFont.Axis, size: int, weight: int) -> float:
    """Return the value of one variation axis: the weight, the optical size (in 1x pixels), or full width."""
    low, default, high = (float(axis[key] or 0) for key in ("minimum", "default", "maximum"))
    wanted = {b"weight": weight, b"optical size": size / 2, b"width": high}.get((axis["name"] or b"").lower(), default)
    return min(max(wanted, low), high)


def _ink_bytes(ink: Ink) -> int:
    return 200 + (ink.mask.width * ink.mask.height if ink.mask else 0)
