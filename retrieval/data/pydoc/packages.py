"""The Python packages of the running interpreter and their source files, found without an import.

In: names of packages, or None for all. Out: paths and module names. Knows nothing of what the files hold.
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

# Tools that are installed beside libraries; nobody looks up their functions.
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
    """Package name to its folder or its single file.

    packages: import names, and `STANDARD_LIBRARY`; None for the standard library, which is then the first,
        and all installed packages that are public and not tools.

    Raises InputError for a name without Python source.
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
    """The folder of a top-level package, or the file of a module, found without importing it."""
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
    """Source files of a package with their module names, those near the top of the package first.

    Most of what people call lies near the top. Files of one depth are sorted by a hash of their module name,
    which mixes the folders.
    """
    if root.is_file():
        return [(root, name)]
    modules = []
    for parent, folders, files in os.walk(root):
        folders[:] = [
            folder for folder in folders if folder not in _SKIPPED_FOLDERS and folder.isidentifier()
        ]
        for file in files:
            if file.endswith(".py") and not file.startswith(("test_", "conftest")):
                parts = Path(parent, file).relative_to(root).with_suffix("").parts
                parts = parts[:-1] if parts[-1] == "__init__" else parts
                if name == STANDARD_LIBRARY and parts[0].startswith("_"):
                    continue  # private modules of the standard library repeat C modules
                module = ".".join(parts if name == STANDARD_LIBRARY else (name, *parts))
                modules.append((Path(parent, file), module))
    return sorted(modules, key=lambda source: (source[1].count("."), _hash(source[1])))


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode(errors="replace")).digest()
