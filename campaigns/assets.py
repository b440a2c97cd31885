"""Page assets from npm: `python -m campaigns.assets` copies the files that pages load out of node_modules.

They are installed by the lock file, served by us, never taken from a content delivery network, and not committed.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

VENDOR = Path(__file__).resolve().parent / "static" / "vendor"
FILES = {
    "@tabler/core/dist/css/tabler.min.css": "tabler.min.css",
    "@tabler/core/dist/js/tabler.min.js": "tabler.min.js",
    "htmx.org/dist/htmx.min.js": "htmx.min.js",
    "echarts/dist/echarts.min.js": "echarts.min.js",
    "@fontsource-variable/inter/index.css": "inter.css",
}
"""File in node_modules → its name among the static files."""
FONTS = "@fontsource-variable/inter/files/inter-*-wght-normal.woff2"


def copy(modules: Path, to: Path = VENDOR) -> list[str]:
    """Copy what pages load and return the names. Raises FileNotFoundError when something is not installed."""
    (to / "files").mkdir(parents=True, exist_ok=True)
    for source, name in FILES.items():
        shutil.copyfile(modules / source, to / name)
    fonts = sorted(modules.glob(FONTS))
    if not fonts:
        raise FileNotFoundError(str(modules / FONTS))
    for font in fonts:
        shutil.copyfile(font, to / "files" / font.name)
    return [*FILES.values(), *(f"files/{font.name}" for font in fonts)]


if __name__ == "__main__":
    names = copy(Path(sys.argv[1] if len(sys.argv) > 1 else "node_modules"))
    sys.stdout.write(f"{len(names)} page assets copied\n")
