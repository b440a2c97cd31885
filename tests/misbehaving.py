"""A real HTTP server on loopback that misbehaves by path, and the pictures it lies about."""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

from PIL import Image, ImageCms

from tests.serving import serving

Answer = Callable[["Handler"], object]


def photo(width: int = 900, height: int = 600, fmt: str = "JPEG", **options: object) -> bytes:
    """A picture with a gradient, so that it has many colours."""
    across = Image.linear_gradient("L").resize((width, height))
    image = Image.merge("RGB", (across, across.transpose(Image.Transpose.FLIP_TOP_BOTTOM), across.rotate(180)))
    out = BytesIO()
    image.save(out, fmt, **options)
    return out.getvalue()


def with_secrets() -> bytes:
    """A JPEG turned on its side by EXIF, with a place, a comment and a colour profile."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "taken at home"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return photo(exif=exif, icc_profile=profile, comment=b"a comment")


@cache
def bomb(width: int, height: int) -> bytes:
    """A small PNG that claims, truthfully, to unpack into width by height pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(zlib.Z_BEST_SPEED)
    line = b"\0" * (1 + (width + 7) // 8)
    rows = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><title>Not found</title>"


class Handler(BaseHTTPRequestHandler):
    """Answers by the server's table; every request is noted."""

    protocol_version = "HTTP/1.1"
    server: Misbehaving

    def do_GET(self) -> None:
        self.server.seen.append((self.headers["Host"], self.path))
        self.server.answers[self.path.partition("?")[0]](self)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def give(self, body: bytes, kind: str = "image/jpeg", status: int = 200, **headers: str) -> None:
        """An answer."""
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


class Misbehaving(ThreadingHTTPServer):
    """The server; `answers` says what each path does, `seen` are host and path of what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.seen: list[tuple[str, str]] = []
        self.stop = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Who hangs up on us is what these tests are about."""

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """The address of a path."""
        return f"http://{host}:{self.server_port}{path}"

    def serve(self, path: str, body: bytes, kind: str = "image/jpeg", **headers: str) -> str:
        """Answer a path with these bytes; its address."""
        self.answers[path] = lambda handler: handler.give(body, kind, 200, **headers)
        return self.url(path)

    def redirect(self, path: str, to: str) -> str:
        """Redirect a path; its address."""
        self.answers[path] = lambda handler: handler.give(b"", status=302, Location=to)
        return self.url(path)

    def drip(self, path: str) -> str:
        """Answer a path a byte at a time, for ever; its address."""

        def slowly(handler: Handler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", "1000000")
            handler.end_headers()
            while not self.stop.wait(0.05):
                handler.wfile.write(b"x")

        self.answers[path] = slowly
        return self.url(path)


@contextmanager
def misbehaving() -> Iterator[Misbehaving]:
    """The server while the block runs."""
    server = Misbehaving()
    with serving(server):
        try:
            yield server
        finally:
            server.stop.set()
