"""By which names a server may be called, so that no page of another site can read it.

The owner of a site can let its name stand for an address of this machine (DNS rebinding). A browser then
takes the server for that site, and its pages may read every answer. Their requests are known by the name in
the Host header.

In: Host headers. Out: nothing, or a refusal.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from ipaddress import ip_address

from index.errors import InputError
from retrieval.serving.errors import Refusal

_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::[0-9]*)?")  # a name or an address, and a port
_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


def require_known_host(headers: Iterable[str], names: Collection[str]) -> None:
    """Raise a 421 if a Host header has a name that a stranger's site may have.

    Addresses, names without a dot and those that end in `.localhost` are nobody's.
    names: further names that are right, in lower case.
    """
    for header in headers:
        found = _HOST.fullmatch(header.strip())
        name = (header if found is None else found[1]).lower().removesuffix(".")
        strange = "." in name and not name.endswith(".localhost") and not _is_address(name)
        if strange and name not in names:
            problem = f"this server is not called {name[:100]!a}; if it is, start it with --allowed-host"
            raise Refusal(421, problem)


def checked_names(names: tuple[str, ...]) -> tuple[str, ...] | None:
    """The names in lower case; None if there are none. Raises InputError for what is not a name."""
    lowered = tuple(name.lower() for name in names)
    for name in lowered:
        if not _NAME.fullmatch(name):
            raise InputError(
                f"--allowed-host {name!r} is not a name of a host; give it without scheme and port, "
                "such as search.example.org"
            )
    return lowered or None


def _is_address(text: str) -> bool:
    try:
        ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
