"""Small real files for the tests, made by hand: PDF, Word, PowerPoint, Excel, LibreOffice."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
from collections.abc import Collection, Mapping, Sequence
from html import escape
from pathlib import Path

_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_TYPES = "application/vnd.openxmlformats-officedocument"


def pdf(pages: Sequence[str], *, title: str = "", password: bool = False) -> bytes:
    """A PDF with a line of text a page; a page without text draws a box. password: as if it had one."""
    kids = " ".join(f"{number} 0 R" for number in range(4, 4 + 2 * len(pages), 2))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        drawing = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET" if text else "10 10 50 50 re f"
        content = f"{5 + 2 * number} 0 R"
        objects += [
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] "
            f"/Resources << /Font << /F1 3 0 R >> >> /Contents {content} >>",
            f"<< /Length {len(drawing)} >>\nstream\n{drawing}\nendstream",
        ]
    objects.append(f"<< /Title ({title}) >>")
    trailer = f"/Root 1 0 R /Info {len(objects)} 0 R"
    if password:
        entry = hashlib.sha256(b"not the empty password").hexdigest()
        objects.append(f"<< /Filter /Standard /V 1 /R 2 /P -4 /O <{entry}> /U <{entry}> >>")
        trailer += f" /Encrypt {len(objects)} 0 R /ID [<{entry[:32]}> <{entry[:32]}>]"
    out = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += "".join(f"{offset:010} 00000 n \n" for offset in offsets).encode()
    out += f"trailer\n<< /Size {len(objects) + 1} {trailer} >>\nstartxref\n{start}\n%%EOF\n".encode()
    return bytes(out)


def zipped(parts: Mapping[str, str | bytes]) -> bytes:
    """A ZIP archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return out.getvalue()


def _office(main: str, content_type: str, parts: Mapping[str, str]) -> bytes:
    return zipped(
        {
            "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
            '<Default Extension="rels" '
            'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Default Extension="xml" ContentType="application/xml"/>'
            f'<Override PartName="/{main}" ContentType="{_TYPES}.{content_type}+xml"/></Types>',
            "_rels/.rels": relations({"rId1": ("officeDocument", main)}),
            **parts,
        }
    )


def relations(targets: Mapping[str, tuple[str, str]]) -> str:
    """A part that says which part has which role."""
    rows = "".join(
        f'<Relationship Id="{key}" Type="{_RELATIONS}/{role}" Target="{target}"/>'
        for key, (role, target) in targets.items()
    )
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{rows}</Relationships>'


def docx(paragraphs: Sequence[tuple[str, str]], before: str = "") -> bytes:
    """A Word document of styles and texts: ("Heading1", "Install"). before: what stands before its XML."""
    body = "".join(
        f'<w:p><w:pPr><w:pStyle w:val="{style}"/></w:pPr><w:r><w:t>{escape(text)}</w:t></w:r></w:p>'
        for style, text in paragraphs
    )
    document = f'{before}<w:document xmlns:w="{_WORD}"><w:body>{body}</w:body></w:document>'
    return _office("word/document.xml", "wordprocessingml.document.main", {"word/document.xml": document})


def xlsx(sheets: Mapping[str, Sequence[Sequence[str | float]]]) -> bytes:
    """A workbook of texts and numbers."""
    names = "".join(
        f'<sheet name="{escape(name)}" sheetId="{n}" r:id="rId{n}"/>' for n, name in enumerate(sheets, 1)
    )
    parts = {
        "xl/workbook.xml": f'<workbook xmlns="{_SHEET}" xmlns:r="{_RELATIONS}">'
        f"<sheets>{names}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": relations(
            {f"rId{n}": ("worksheet", f"worksheets/sheet{n}.xml") for n in range(1, len(sheets) + 1)}
        ),
    }
    for number, rows in enumerate(sheets.values(), 1):
        lines = "".join(f"<row>{''.join(map(_cell, row))}</row>" for row in rows)
        parts[f"xl/worksheets/sheet{number}.xml"] = (
            f'<worksheet xmlns="{_SHEET}"><sheetData>{lines}</sheetData></worksheet>'
        )
    return _office("xl/workbook.xml", "spreadsheetml.sheet.main", parts)


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return f'<c t="inlineStr"><is><t>{escape(value)}</t></is></c>'
    return f"<c><v>{value}</v></c>"


def pptx(slides: Sequence[tuple[str, str, str]]) -> bytes:
    """A presentation of titles, texts and notes."""
    from pptx import Presentation

    made = Presentation()
    for title, text, notes in slides:
        slide = made.slides.add_slide(made.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = text
        if notes:
            slide.notes_slide.notes_text_frame.text = notes
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


def opendocument(
    kind: str, body: str, *, before: str = "", encoding: str = "utf-8", more: Mapping[str, str] | None = None
) -> bytes:
    """A text or presentation of LibreOffice.

    kind: "text" or "presentation". body: its XML. before: what stands before it. more: other parts.
    """
    names = {name: name for name in ("office", "style", "text", "table", "presentation")}
    names |= {"draw": "drawing", "svg": "svg-compatible"}
    spaces = " ".join(
        f'xmlns:{short}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for short, name in names.items()
    )
    content = (
        f'<?xml version="1.0" encoding="{encoding}"?>{before}<office:document-content {spaces}>'
        '<office:automatic-styles><style:style style:name="P1" style:parent-style-name="Title"/>'
        f"</office:automatic-styles><office:body><office:{kind}>{body}</office:{kind}></office:body>"
        "</office:document-content>"
    )
    parts = {
        "mimetype": f"application/vnd.oasis.opendocument.{kind}",
        "content.xml": content.encode(encoding),
    }
    return zipped({**parts, **(more or {})})


def workbook(
    path: Path, sheets: Mapping[str, Sequence[Sequence[object]]], hidden: Collection[str] = ()
) -> Path:
    """A workbook as Excel writes it; None is no cell. hidden: names of sheets."""
    from xlsxwriter import Workbook  # python-pptx brings it

    made = Workbook(path, {"default_date_format": "yyyy-mm-dd hh:mm", "strings_to_urls": False})
    for name, rows in sheets.items():
        sheet = made.add_worksheet(name)
        for number, row in enumerate(rows):
            sheet.write_row(number, 0, row)
        if name in hidden:
            sheet.hide()
    made.close()
    return path


def xlsb(sheets: Mapping[str, Sequence[Sequence[str | float]]], charts: Collection[str] = ()) -> bytes:
    """A binary workbook of texts and numbers, as [MS-XLSB] says. charts: names of sheets of charts."""
    names = [*sheets, *charts]
    bundle = b"".join(
        _record(156, struct.pack("<II", 0, n), _wide(f"rId{n}"), _wide(name))
        for n, name in enumerate(names, 1)
    )
    targets = {f"rId{n}": ("worksheet", f"worksheets/sheet{n}.bin") for n in range(1, len(sheets) + 1)}
    targets |= {
        f"rId{n}": ("chartsheet", f"chartsheets/sheet{n}.bin") for n in range(len(sheets) + 1, len(names) + 1)
    }
    parts: dict[str, str | bytes] = {
        "xl/workbook.bin": b"".join((_record(131), _record(143), bundle, _record(144), _record(132))),
        "xl/_rels/workbook.bin.rels": relations(targets),
    }
    for number, rows in enumerate(sheets.values(), 1):
        parts[f"xl/worksheets/sheet{number}.bin"] = _binary_sheet(rows)
    for number in range(len(sheets) + 1, len(names) + 1):
        parts[f"xl/chartsheets/sheet{number}.bin"] = _record(129) + _record(130)
    return zipped(parts)


def _binary_sheet(rows: Sequence[Sequence[str | float]]) -> bytes:
    size = struct.pack("<IIII", 0, len(rows) - 1, 0, max(map(len, rows), default=1) - 1)
    out = [_record(129), _record(148, size), _record(145)]
    for number, row in enumerate(rows):
        out.append(_record(0, struct.pack("<I", number), bytes(13)))
        for column, value in enumerate(row):
            where = struct.pack("<II", column, 0)
            if isinstance(value, str):
                out.append(_record(6, where, _wide(value)))
            else:
                out.append(_record(5, where, struct.pack("<d", value)))
    return b"".join((*out, _record(146), _record(130)))


def _record(kind: int, *parts: bytes) -> bytes:
    """A record: its kind and its length in seven bits a byte, and its content."""
    content = b"".join(parts)
    head = bytes([kind]) if kind < 128 else bytes([kind & 127 | 128, kind >> 7])
    length = len(content)
    while length > 127:
        head += bytes([length & 127 | 128])
        length >>= 7
    return head + bytes([length]) + content


def _wide(text: str) -> bytes:
    encoded = text.encode("utf-16-le")
    return struct.pack("<I", len(encoded) // 2) + encoded


def ods(rows: Sequence[Sequence[str]]) -> bytes:
    """An OpenDocument workbook with one sheet of texts, named Blatt."""
    names = "urn:oasis:names:tc:opendocument:xmlns"
    lines = "".join(
        "<table:table-row>"
        + "".join(
            f'<table:table-cell office:value-type="string"><text:p>{escape(cell)}</text:p></table:table-cell>'
            for cell in row
        )
        + "</table:table-row>"
        for row in rows
    )
    return zipped(
        {
            "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
            "content.xml": f'<office:document-content xmlns:office="{names}:office:1.0" '
            f'xmlns:table="{names}:table:1.0" xmlns:text="{names}:text:1.0"><office:body>'
            f'<office:spreadsheet><table:table table:name="Blatt">{lines}</table:table>'
            "</office:spreadsheet></office:body></office:document-content>",
            "META-INF/manifest.xml": f'<manifest:manifest xmlns:manifest="{names}:manifest:1.0"/>',
        }
    )
