"""Commands of ours in a process of their own: for jobs whose libraries and memory their worker should not keep.

What the command says goes to the worker's own output.
"""

from __future__ import annotations

import subprocess
import sys


def run(*arguments: str, seconds: float) -> None:
    """Run `latebind <arguments>` with this process's environment.

    Raises RuntimeError where it fails or takes longer than `seconds`; then it is ended.
    """
    try:
        done = subprocess.run([sys.executable, "-m", "workers.cli", *arguments], timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"latebind {arguments[0]} took longer than {seconds:.0f} s and was ended") from None
    if done.returncode:
        raise RuntimeError(f"latebind {arguments[0]} failed with status {done.returncode}; its words are above")
