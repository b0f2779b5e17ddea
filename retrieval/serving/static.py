"""What is served beside the API: pages and files. They are no operations, so OpenAPI does not name them.

`routes()` is the one place to add them. None yet.
"""

from __future__ import annotations

from starlette.routing import BaseRoute


def routes() -> list[BaseRoute]:
    """The routes of pages and files, tried after those of the API."""
    return []
