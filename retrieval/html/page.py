"""The HTML that a page is made of: its frame, sections and tables, and how they look on screen and paper.

In: HTML fragments, their texts escaped already unless said otherwise. Out: HTML. Knows nothing of what it
tells.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def page(title: str, sections: Iterable[str]) -> str:
    """A page that needs nothing beside itself. title: plain text; empty sections are left out."""
    heading = escape(title)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{heading}</title><style>{_STYLE}</style></head>\n"
        f"<body><main><h1>{heading}</h1>\n" + "\n".join(filter(None, sections)) + "\n</main></body></html>\n"
    )


def section(heading: str, content: str) -> str:
    """Content under a heading of plain text."""
    return f"<section><h2>{escape(heading)}</h2>{content}</section>"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table that scrolls by itself where the screen is narrow."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #62676e; --paper: #fff; --line: #dcdfe3;
  --c0: #0072b2; --c1: #e69f00; --c2: #009e73; --c3: #cc79a7; --c4: #56b4e9; --c5: #d55e00; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e6e7e9; --soft: #9aa0a8; --paper: #15171a;
  --line: #363a40;
  --c0: #4fa8de; --c1: #f0b73c; --c2: #35c298; --c3: #dd9ac0; --c4: #8acdf2; --c5: #f0853c; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem; margin: 0 0 .5rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
dl { display: flex; flex-wrap: wrap; gap: .4rem 2rem; margin: 0; } dt { color: var(--soft); font-size: .85rem;
} dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: .4rem 0; font-variant-numeric:
tabular-nums; } th, td { text-align: left; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid var(--line);
vertical-align: top; } td { overflow-wrap: anywhere; } th { color: var(--soft); font-weight: 600; }
article { border: 1px solid var(--line); border-radius: 6px; padding: .7rem .9rem; margin: .8rem 0; }
.note { color: var(--soft); font-size: .85rem; } p.note { margin: .1rem 0; }
svg { display: block; width: 100%; max-width: 45rem; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--ink); } svg text.value { fill: var(--soft); font-size: 11px; }
.key svg { display: inline-block; width: .7em; margin-right: .4em; }
.s0 { fill: var(--c0); } .s1 { fill: var(--c1); } .s2 { fill: var(--c2); }
.s3 { fill: var(--c3); } .s4 { fill: var(--c4); } .s5 { fill: var(--c5); }
.l0 { stroke: var(--c0); } .l1 { stroke: var(--c1); } .l2 { stroke: var(--c2); }
.l3 { stroke: var(--c3); } .l4 { stroke: var(--c4); } .l5 { stroke: var(--c5); }
.win { fill: var(--c2); } .lose { fill: var(--c5); }
.axis { stroke: var(--line); fill: none; } .whisker { stroke: var(--ink); fill: none; }
@media print { body { font-size: 10pt; } main { max-width: none; padding: 0; } h2 { break-after: avoid; }
  article, svg, tr { break-inside: avoid; } .wide { overflow: visible; }
  svg, .key svg { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
