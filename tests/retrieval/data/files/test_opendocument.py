"""What texts and presentations of LibreOffice give, and a line for what is none."""

from __future__ import annotations

import pytest
from made_files import opendocument, xlsx, zipped

from retrieval.data.files.convert import convert
from retrieval.data.files.formats import archive
from retrieval.data.files.sections import documents


def sections(kind: str, content: bytes) -> dict[str, str]:
    return {" > ".join(each.headings): each.text for each in convert(kind, content).sections}


def problem(kind: str, content: bytes) -> str:
    with pytest.raises(ValueError) as caught:
        convert(kind, content)
    return str(caught.value)


def problem_or_none(content: bytes) -> str:
    """What is wrong with a text document; "; " if nothing is."""
    try:
        convert("odt", content)
    except ValueError as error:
        return str(error)
    return "; "


TEXT = """
<text:tracked-changes><text:p>deleted words</text:p></text:tracked-changes>
<text:table-of-content><text:p>Install 1</text:p></text:table-of-content>
<text:p text:style-name="P1">The <text:span>manual</text:span></text:p>
<text:p>Read<text:s text:c="1000000000"/>me<text:bookmark-start text:name="a"/> first<text:note>
<text:note-citation>1</text:note-citation><text:note-body><text:p>a note</text:p></text:note-body></text:note>
.<office:annotation><text:p>comment</text:p></office:annotation></text:p>
<text:h text:outline-level="1">Install</text:h>
<text:list><text:list-item><text:p>one</text:p></text:list-item><text:list-item><text:p>two</text:p></text:list-item>
</text:list>
<text:h text:outline-level="2">安装</text:h>
<text:p>line<text:line-break/>next
<draw:frame><draw:image/><svg:title>alt words</svg:title></draw:frame>end</text:p>
<table:table><table:table-header-rows><table:table-row><table:table-cell><text:p>k</text:p></table:table-cell>
<table:table-cell table:number-columns-repeated="1000000000"><text:p>v</text:p></table:table-cell>
</table:table-row></table:table-header-rows><table:table-row><table:table-cell><text:p>1</text:p></table:table-cell>
<table:covered-table-cell/><table:table-cell><text:p>2</text:p></table:table-cell></table:table-row></table:table>
<text:h text:outline-level="odd">Odd</text:h><text:p>last</text:p>
"""


def test_headings_of_a_text_document_make_sections():
    assert sections("odt", opendocument("text", TEXT)) == {
        "The manual": "Read me first (a note) .",
        "The manual > Install": "- one\n- two",
        "The manual > Install > 安装": "line\nnext end\n\nk | v\n1 | 2",
        "The manual > Odd": "last",
    }


def test_slides_make_sections_with_their_notes():
    frame = "<draw:frame{}><draw:text-box><text:p>{}</text:p></draw:text-box></draw:frame>"
    content = opendocument(
        "presentation",
        "<draw:page>"
        + frame.format(' presentation:class="title"', "Intro")
        + frame.format("", "Hello")
        + f"<presentation:notes><draw:page-thumbnail/>{frame.format('', 'say hi')}</presentation:notes>"
        + "</draw:page><draw:page/><draw:page><draw:custom-shape><text:p>a box</text:p></draw:custom-shape>"
        + "</draw:page><draw:page>"
        + frame.format(' presentation:class="title"', "Only a title")
        + "</draw:page>",
    )
    found = documents("talk.odp", convert("odp", content), "odp", "d")
    assert [(each.id, each.title, each.text) for each in found] == [
        ("talk.odp#slide-1", "talk > Intro", "Hello\n\nsay hi"),
        ("talk.odp#slide-3", "talk > slide 3", "a box"),
        ("talk.odp#slide-4", "talk > Only a title", "Only a title"),
    ]


def test_documents_of_another_kind_broken_ones_and_bombs_are_refused(monkeypatch):
    good = opendocument("text", "<text:p>x</text:p>")
    assert problem("odp", good) == "is a ZIP archive but no .odp; rename it or remove it"
    assert problem("odt", zipped({"content.xml": "<a/>"})).startswith("is a ZIP archive but no .odt; ")
    assert problem("odt", good[: len(good) // 2]).startswith("broken .odt (")
    for at in range(30, len(good), 7):
        assert "; " in problem_or_none(good[:at] + bytes([good[at] ^ 255]) + good[at + 1 :])
    locked = {"META-INF/manifest.xml": '<manifest:encryption-data manifest:checksum="x"/>'}
    assert problem("odt", opendocument("text", "", more=locked)) == "has a password; save it without one"
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 1 << 20)
    assert problem("odt", opendocument("text", "x" * (2 << 20))).startswith("unpacks to more than 1 MiB; ")


@pytest.mark.parametrize("padding", [0, 2 << 20])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_wherever_they_are_declared(padding, encoding):
    bomb = f'<!--{" " * padding}--><!DOCTYPE a [<!ENTITY a "xxxxxxxxxx"><!ENTITY b "&a;&a;&a;">]>'
    content = opendocument("text", "<text:p>&b;</text:p>", before=bomb, encoding=encoding)
    assert problem("odt", content).startswith(
        "holds XML with a document type, which no Office program writes; "
    )


def test_document_type_of_macros_which_nobody_reads_is_none():
    macros = {"Basic/Standard/script-lb.xml": '<!DOCTYPE library:library PUBLIC "x" "library.dtd"><a/>'}
    assert sections("odt", opendocument("text", "<text:p>x</text:p>", more=macros)) == {"": "x"}


def test_deep_nesting_is_told_by_the_worker():
    deep = "<text:section>" * 5000 + "<text:p>x</text:p>" + "</text:section>" * 5000
    with pytest.raises(RecursionError):
        convert("odt", opendocument("text", deep))


def test_workbook_with_macros_is_read_as_one_without(tmp_path):
    from retrieval.data.files.kinds import kind_of

    assert kind_of("prices.XLSM") == "xlsx"
    assert sections("xlsx", xlsx({"Prices": [["tea", 3.0]]})) == {"Prices": "tea | 3"}
