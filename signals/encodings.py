"""How the text of a file is written: told by its mark or by whoever loads it, else UTF-8; nothing is guessed."""

from __future__ import annotations

import codecs
from typing import IO, Final

from base.errors import InvalidInput

PIECE: Final = 1024 * 1024
MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""What a file may begin with, the longer marks before those that they begin with."""
_HELP: Final = "say how it is written by --encoding, such as cp1252 or latin-1"


def encoding_of(stream: IO[bytes], named: str | None = None) -> str:
    """The encoding of a text, which is read to its end. Raises InvalidInput naming the first line that is not in it.

    `named` is what the one who loads it says; without that its mark counts, and without a mark it must be UTF-8. A mark
    of what is named is no part of the text.
    """
    start = stream.read(PIECE)
    marked = next((told for mark, told in MARKS if start.startswith(mark)), None)
    encoding = named or marked or "utf-8"
    if named is None and encoding == "utf-8" and b"\0" in start[:1000]:
        raise InvalidInput("", "begins with bytes of zero: say how it is written by --encoding, such as utf-16-le")
    decoder = decoder_of(encoding)
    if marked is not None and codecs.lookup(encoding).name.startswith(marked.removesuffix("-sig")):
        encoding, decoder = marked, decoder_of(marked)
    line, piece = 1, start
    try:
        while piece:
            line += decoder.decode(piece).count("\n")
            piece = stream.read(PIECE)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode(error.encoding, "replace")
        what = "UTF-8" if encoding.startswith("utf-8") else encoding
        raise InvalidInput(f"line {line + before.count(chr(10))}", f"is not {what}: {_HELP}") from None
    except UnicodeError as error:
        raise InvalidInput("", f"is not {encoding}: {error}") from None
    return encoding


def decoder_of(encoding: str) -> codecs.IncrementalDecoder:
    """What decodes a text piece by piece. Raises InvalidInput for a name that nobody knows."""
    try:
        "a".encode(encoding)
        return codecs.getincrementaldecoder(encoding)("strict")
    except (LookupError, ValueError):
        raise InvalidInput("--encoding", "is no encoding of text; utf-8, utf-16, cp1252 and latin-1 are some") from None
