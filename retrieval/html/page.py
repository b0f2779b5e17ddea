"""HTML pages from jinja2 templates; every value that a template shows is escaped.

In: a template file. Out: the template, ready to render. Knows nothing of what a page is about. The extras
`evaluate` and `train` bring jinja2; nothing else needs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # an extra, imported where it is used
    from jinja2 import Template

TEMPLATES = Path(__file__).parent / "templates"


def page_template(path: Path) -> Template:
    """The template in a file, which may extend, import and include the files of `TEMPLATES`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([path.parent, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(path.name)
