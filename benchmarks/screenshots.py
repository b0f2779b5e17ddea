"""Pictures of the search page for docs/operations.md, taken in Chromium.

    python -m benchmarks.screenshots ENGLISH_INDEX CHINESE_INDEX [--output docs/images]

The pictures of the documentation show indexes of tldr pages, in English and in Chinese. The metadata of each
document are `platform`, the first part of its id, and `examples`, how many it has.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from urllib.parse import urlencode

from benchmarks.browser import Page, browser, serving

_HITS = "document.querySelectorAll('#hits > li').length > 0"
_WHY = "document.querySelector('.why:not([hidden]) .shaded')"


def show(page: Page, address: str, *pairs: tuple[str, str], opened: int | None = None) -> None:
    """Search, and open the explanation of a hit, from 0."""
    for _ in range(3):  # the first search also reads what later ones find in memory
        page.open("about:blank")
        page.open(f"{address}?{urlencode(pairs)}")
        page.until(_HITS)
    if opened is not None:
        page.run(f"document.querySelectorAll('.title')[{opened}].click()")
        page.until(_WHY)
        if opened:
            page.run(f"document.querySelectorAll('#hits > li')[{opened}].scrollIntoView()")


def english(page: Page, address: str, output: Path) -> None:
    page.size(1000, 640)
    show(page, address, ("q", "copy a directory"))
    (output / "page.png").write_bytes(page.picture())
    show(page, address, ("q", "list open files"), ("f.platform", "linux"), opened=0)
    (output / "page-why.png").write_bytes(page.picture())
    page.dark(True)
    show(page, address, ("q", "rename many files at once"), opened=1)
    (output / "page-dark.png").write_bytes(page.picture())
    page.dark(False)
    page.size(390, 700)
    show(page, address, ("q", "show disk usage"))
    (output / "page-phone.png").write_bytes(page.picture())


def chinese(page: Page, address: str, output: Path) -> None:
    page.size(1000, 640)
    show(page, address, ("q", "复制目录"), opened=0)
    (output / "page-chinese.png").write_bytes(page.picture())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("english", type=Path)
    parser.add_argument("chinese", type=Path)
    parser.add_argument("--output", type=Path, default=Path("docs/images"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    with browser() as running:
        for index, pictures in ((arguments.english, english), (arguments.chinese, chinese)):
            with serving(index) as (_, address), running.page() as page:
                page.dark(False)
                page.call("Emulation.setScrollbarsHidden", hidden=True)
                pictures(page, address, arguments.output)


if __name__ == "__main__":
    main()
