#!/usr/bin/env python3
"""Puts the fuzzer of the API, schemathesis, into .tools/: a virtual environment of its own, every version pinned.

Where that is not possible (a Python without venv, older than 3.10, or no package index in reach) it says so in one line
and ends well: the suite then skips the test that needs it, in a printed line.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".tools" / "schemathesis"
PINNED = ROOT / "scripts" / "schemathesis.txt"
DONE = PLACE / "installed.txt"
NEEDED = (3, 10)


def main() -> int:
    wanted = PINNED.read_text()
    if DONE.is_file() and DONE.read_text() == wanted:
        return 0
    if sys.version_info < NEEDED:
        return skip("Python 3.10 is needed")
    steps = [
        [sys.executable, "-m", "venv", "--clear", str(PLACE)],
        [str(PLACE / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(PINNED)],
    ]
    for step in steps:
        try:
            ended = subprocess.run(step, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
        except (OSError, subprocess.TimeoutExpired) as error:
            return skip(str(error))
        if ended.returncode != 0:
            last = [line for line in ended.stdout.splitlines() if line.strip()][-1:]
            return skip("".join(last) or f"{step[1]} failed")
    DONE.write_text(wanted)
    return 0


def skip(why: str) -> int:
    print(f"skipped: the API's fuzzer is not installed: {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
