"""What an extra weighs: a fresh environment with the package alone, and one with each extra.

    python -m benchmarks.extras [EXTRA...] [--write]

Without names, the extras of retrieval/adapters. Versions are those of constraints.txt. Needs the package
index that pip is set up for. With --write, adds to benchmarks/results/extras.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, ROOT, write_result

RESULT = RESULTS / "extras.json"
_NEEDING = re.compile(r'^with needing\("([\w-]+)"\):$', re.MULTILINE)


def extras_of_adapters() -> list[str]:
    """The extras that the modules of retrieval/adapters name, in order."""
    texts = (path.read_text("utf-8") for path in ROOT.glob("retrieval/adapters/**/*.py"))
    return sorted({extra for text in texts for extra in _NEEDING.findall(text)})


def size_bytes(folder: Path) -> int:
    """Bytes of all regular files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def weigh(extra: str | None, folder: Path) -> dict[str, Any]:
    """Install the package, with an extra or without, into a new environment; returns what it takes."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    bare = size_bytes(folder)
    what = str(ROOT) if extra is None else f"{ROOT}[{extra}]"
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "install", "--quiet", "-c", str(ROOT / "constraints.txt"), what],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    listed = subprocess.run([*pip, "list", "--format", "json"], check=True, capture_output=True).stdout
    return {
        "MB": round((size_bytes(folder) - bare) / 1e6, 1),
        "packages": len({each["name"] for each in json.loads(listed)} - {"pip", "setuptools"}),
    }


def main() -> None:
    """Print the table, and write it if that is asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.extras")
    parser.add_argument("extras", nargs="*", metavar="EXTRA")
    parser.add_argument("--write", action="store_true", help="add to benchmarks/results/extras.json")
    options = parser.parse_args()
    rows: dict[str, dict[str, Any]] = {}
    print(f"{'extra':24}{'MB':>8}{'more MB':>9}{'packages':>10}")
    for extra in (None, *(options.extras or extras_of_adapters())):
        with tempfile.TemporaryDirectory() as folder:
            row = weigh(extra, Path(folder) / "environment")
        name = extra or "none"
        rows[name] = row | {"more MB": round(row["MB"] - rows["none"]["MB"], 1)} if extra else row
        print(f"{name:24}{row['MB']:8.1f}{rows[name].get('more MB', 0):9.1f}{row['packages']:10}", flush=True)
    if options.write:
        before = json.loads(RESULT.read_text("utf-8"))["extras"] if RESULT.exists() else {}
        write_result(RESULT, {"python": platform.python_version(), "extras": before | rows})


if __name__ == "__main__":
    main()
