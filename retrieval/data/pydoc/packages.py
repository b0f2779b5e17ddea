"""The Python packages of the running interpreter and their source files, found without importing any of them.

In: names, or nothing for everything. Out: paths. Knows nothing of what the files hold.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from sysconfig import get_paths

from index.errors import InputError

STANDARD_LIBRARY = "stdlib"

# Tools that are installed beside libraries; their functions are not what anybody looks up.
_TOOLS = frozenset({"distutils", "mypy", "mypyc", "pip", "pkg_resources", "setuptools", "torchgen"})

# Tests, and copies of other packages.
_SKIPPED_FOLDERS = frozenset(
    {
        "__pycache__",
        "ensurepip",
        "idlelib",
        "lib2to3",
        "site-packages",
        "test",
        "testing",
        "tests",
        "turtledemo",
    }
    | {"_vendor", "extern", "externals", "thirdparty", "vendor", "vendored"}
)


def package_roots(packages: Sequence[str] | None) -> dict[str, Path]:
    """Package name to its folder or single file; the standard library first.

    packages: import names, `STANDARD_LIBRARY` among them; None for that and everything installed that is
    public and no tool. Raises InputError for a name without Python source.
    """
    paths = get_paths()
    standard = Path(paths["stdlib"])
    if packages is None:
        installed = {
            name: root for key in ("purelib", "platlib") for name, root in _installed(Path(paths[key]))
        }
        return {STANDARD_LIBRARY: standard, **dict(sorted(installed.items()))}
    roots = {}
    for name in packages:
        root = standard if name == STANDARD_LIBRARY else _root_of(name)
        if root is None:
            raise InputError(f"no package {name!r} with Python source; install it or leave it out")
        roots[name] = root
    return roots


def _installed(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in folder.iterdir():
        public = path.stem.isidentifier() and not path.stem.startswith("_") and path.stem not in _TOOLS
        if public and ((path / "__init__.py").is_file() or path.suffix == ".py"):
            yield path.stem, path


def _root_of(name: str) -> Path | None:
    """Where a top-level package or module lies, without importing it."""
    if not name.isidentifier():
        return None
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    origin = Path(spec.origin)
    return origin.parent if origin.name == "__init__.py" else origin


def sources(name: str, root: Path) -> list[tuple[Path, str]]:
    """Source files and their module names. First come those near the top, where what people call lies as a
    rule; at one depth the order is that of the names' hashes, which mixes the folders.
    """
    if root.is_file():
        return [(root, name)]
    found = []
    for parent, folders, files in os.walk(root):
        folders[:] = [
            folder for folder in folders if folder not in _SKIPPED_FOLDERS and folder.isidentifier()
        ]
        for file in files:
            if file.endswith(".py") and not file.startswith(("test_", "conftest")):
                parts = Path(parent, file).relative_to(root).with_suffix("").parts
                parts = parts[:-1] if parts[-1] == "__init__" else parts
                if name == STANDARD_LIBRARY and parts[0].startswith("_"):
                    continue  # private modules there are twins of C modules
                module = ".".join(parts if name == STANDARD_LIBRARY else (name, *parts))
                found.append((Path(parent, file), module))
    return sorted(found, key=lambda source: (source[1].count("."), _mixed(source[1])))


def _mixed(name: str) -> bytes:
    return hashlib.sha256(name.encode(errors="replace")).digest()
