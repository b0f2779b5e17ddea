"""What each format gives: headings and readable text, in the order of the file."""

from __future__ import annotations

from textwrap import dedent

import pytest
from made_files import docx, pdf, pptx, xlsx, zipped

from retrieval.data.files.convert import convert
from retrieval.data.files.formats import archive
from retrieval.data.files.sections import Extract, Outline, documents, slug


def extract(kind: str, content: str | bytes) -> Extract:
    return convert(kind, content if isinstance(content, bytes) else dedent(content).encode())


def sections(kind: str, content: str | bytes) -> dict[str, str]:
    return {" > ".join(each.headings): each.text for each in extract(kind, content).sections}


def problem(kind: str, content: bytes) -> str:
    with pytest.raises(ValueError) as caught:
        convert(kind, content)
    return str(caught.value)


def test_markdown_is_split_at_headings_and_loses_its_markup():
    text = """\
        Intro with a [link](https://example.org "t") and ![badge](b.png).

        # Guide
        ## Install
        ### Linux

        Run **this** in `sh`:

        ```sh
        apt install   peephole
        # no heading
        ```

        - one
          - inner
        - two

        | a | b |
        |---|---|
        | 1 | 2 |

        Setext
        ------
        <p align="center">raw <b>html</b> &amp; more</p>
        <!-- hidden -->

        # 安装
        用 `pip` 安装。<br>第二行
        """
    assert sections("markdown", text) == {
        "": "Intro with a link and .",
        "Guide > Install > Linux": "Run this in sh:\n\napt install   peephole\n# no heading\n"
        "\n- one\n- inner\n- two\n\na | b\n1 | 2",
        "Guide > Setext": "raw html & more",
        "安装": "用 pip 安装。\n第二行",
    }


def test_front_matter_of_markdown_gives_title_and_simple_fields():
    found = extract("markdown", "---\ntitle: 'My page'\nauthor: Ann\nnested:\n  x: 1\n---\n## A\ntext")
    assert (found.title, found.fields) == ("My page", {"author": "Ann"})
    (document,) = documents("d/page.md", found, "markdown", "2024-05-01")
    assert document.title == "My page > A"
    assert document.metadata == {
        "author": "Ann",
        "path": "d/page.md",
        "type": "markdown",
        "date": "2024-05-01",
    }


def test_fields_of_front_matter_may_have_chinese_names():
    found = extract("markdown", "---\n作者: 张三\n标签: [安装, 显卡]\n---\n正文")
    assert found.fields == {"作者": "张三", "标签": ["安装", "显卡"]}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("支\n持热插拔，\n  请看", "支持热插拔，请看"),
        ("使用\nDocker\n启动", "使用 Docker 启动"),
        ("支\n\n持", "支\n\n持"),
        ("甲  \n乙", "甲\n乙"),
        ("한국\n말", "한국 말"),
        ("启\u200b动 服务", "启动 服务"),
    ],
)
def test_a_source_line_that_ends_within_chinese_is_joined_without_a_space(written, read):
    assert sections("markdown", written) == {"": read}


def test_front_matter_in_toml_gives_the_same():
    text = """\
        +++
        title = "Release: two"
        date = 2024-05-01T10:00:00Z
        tags = ["a", "b"]
        draft = false
        weight = 3
        empty = []
        [cascade]
        x = 1
        +++
        ## A
        text
        """
    found = extract("markdown", text)
    assert (found.title, [each.text for each in found.sections]) == ("Release: two", ["text"])
    assert found.fields == {
        "date": "2024-05-01T10:00:00+00:00",
        "tags": ["a", "b"],
        "draft": "false",
        "weight": "3",
    }
    assert sections("markdown", "+++\nno toml\n+++\ntext") == {"": "+++ no toml +++ text"}


def test_type_and_date_that_the_author_wrote_win_and_the_path_is_that_of_the_file():
    found = extract("markdown", "---\ndate: 2019-03-01\ntype: post\npath: /blog/x\n---\ntext")
    (document,) = documents("d/page.md", found, "markdown", "2024-05-01")
    assert document.metadata == {"type": "post", "date": "2019-03-01", "path": "d/page.md"}


def test_empty_date_in_front_matter_leaves_that_of_the_file():
    found = extract("markdown", "---\ndate:\ntype: ''\n---\ntext")
    (document,) = documents("page.md", found, "markdown", "2024-05-01")
    assert document.metadata == {"type": "markdown", "date": "2024-05-01", "path": "page.md"}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("tags: [a, b c]", ["a", "b c"]),
        ("tags: [\"a, b\", 'c: d',]  # two", ["a, b", "c: d"]),
        ("tags: [http://x.org/#y]", ["http://x.org/#y"]),
        ("tags:\n- a\n- b c", ["a", "b c"]),
        ("tags: # two\n  - 'a: b'\n\n  # and\n  - c", ["a: b", "c"]),
        ("tags: []", None),
        ("tags:", None),
        ("tags: [a, [b]]", None),
        ("tags: [a: b]", None),
        ("tags: [a, {b: c}]", None),
        ("tags:\n- a: b\n  c: d", None),
        ("tags:\n- a\n- - b", None),
        ("tags:\n  inner:\n  - a", None),
    ],
)
def test_simple_lists_of_front_matter_are_read_and_nested_ones_left_out(written, expected):
    found = extract("markdown", f"---\nfirst: 1\n{written}\nlast: 2\n---\ntext")
    expected_tags = {} if expected is None else {"tags": expected}
    assert found.fields == {"first": "1", "last": "2"} | expected_tags


@pytest.mark.parametrize("text", ["", "\n\n", "# only a heading\n", "<!-- open", "# a\n## b\n"])
def test_markdown_without_text_has_no_sections(text):
    assert extract("markdown", text).sections == []


def test_front_matter_that_never_ends_is_text():
    assert sections("markdown", "---\nno end\n") == {"": "no end"}


def test_rst_of_sphinx_is_split_at_headings_without_its_directives():
    text = """\
        .. _top:

        =====
        Guide
        =====

        .. contents::

        See :doc:`the models </topics/models>`, :class:`~django.db.models.Model` and :setting:`DEBUG`.

        .. toctree::
           :maxdepth: 2

           intro

        Install
        =======

        .. versionadded:: 3.2

        .. note:: Mind this.

        .. code-block:: pycon
           :linenos:

           >>> a = 1

        .. setting:: DATABASES

        A `link <https://example.org>`_ and ``code``.

        .. class:: Field(x)
           :module: a

           A field.

        .. unknown-thing:: arg
           :option: value

           Its text.

        ====  ====
        a     b
        ====  ====
        1     2
        ====  ====
        """
    assert sections("rst", text) == {
        "Guide": "See the models, Model and DEBUG.",
        "Guide > Install": "New in version 3.2\n\nNote\n\nMind this.\n\n>>> a = 1\n\nDATABASES\n\n"
        "A link and code.\n\nField(x)\n\nA field.\n\narg\n\nIts text.\n\na | b\n1 | 2",
    }


def test_rst_marks_of_the_next_heading_are_left_out():
    text = "A\n=\n\none\n\n.. setting:: B_SETTING\n\nB\n=\n\n.. class:: Field(x)\n\ntwo\n\n.. setting:: C\n"
    assert sections("rst", text) == {"A": "one", "B": "Field(x)\n\ntwo"}


def test_rst_reads_no_other_file(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret words")
    text = f"T\n=\n\nseen\n\n.. include:: {secret}\n\n.. raw:: html\n   :file: {secret}\n\n" + (
        f".. csv-table::\n   :file: {secret}\n\n.. literalinclude:: {secret}\n"
    )
    (found,) = extract("rst", text).sections
    assert found.text.startswith("seen")
    assert "secret words" not in found.text


def test_broken_rst_gives_what_can_be_read():
    (found,) = extract("rst", "T\n=\n\nAn *open emphasis and `odd.\n\n.. image::\n\n===\n\nend").sections
    assert "An *open emphasis" in found.text
    assert "end" in found.text
    assert "System Message" not in found.text


def test_text_is_one_document_unless_it_is_rst():
    assert sections("text", "Title\n=====\n\nplain  text") == {"": "Title\n=====\n\nplain  text"}
    rst = "Title\n=====\n\n.. _a:\n\nSee :ref:`b`.\n"
    assert sections("text", rst) == {"Title": "See b."}
    assert sections("text", b"\xef\xbb\xbf\r\nbom\r\n") == {"": "bom"}


def test_html_is_its_main_content_split_at_headings():
    page = """\
        <html><head><title>Site</title><style>p {}</style><script>x()</script></head><body>
        <header>Logo</header><nav>Menu</nav><div class="sidebar">Side</div>
        <main><header><h1>Guide<a class="headerlink" href="#g">¶</a></h1></header>
        <p>One <b>two</b>\n three<br>four</p><aside>ad</aside><form>search</form>
        <h2>Code</h2><pre>a  =  1\n   b</pre><ul><li>x</li><li><p>y</p></li></ul>
        <table><tr><th>k</th><td>v</td></tr></table><dl><dt>term</dt><dd>meaning</dd></dl>
        <aside class="admonition note"><p>Note well</p></aside>
        </main><footer>Imprint</footer></body></html>"""
    assert sections("html", page) == {
        "Guide": "One two three\nfour",
        "Guide > Code": "a  =  1\n  b\n\n- x\n- y\n\nk | v\n\nterm\nmeaning\n\nNote well",
    }


def test_html_without_main_content_is_its_body_without_furniture():
    page = "<body><header>Logo</header><div id=nav>Menu</div><h1>A</h1><p>text</p><footer>F</footer>"
    assert sections("html", page) == {"A": "text"}
    assert sections("html", "<p>x<p>y<table><tr><td>a<p>b</p>c<td>d</table>") == {"": "x\n\ny\n\na b c | d"}


def test_main_content_in_chinese_is_found_though_it_has_no_spaces():
    main = "<main><h1>售后政策</h1><p>七天内可以退货。</p></main>"
    page = f"<body><div>首页 商城 客服</div>{main}<div>版权所有</div>"
    assert sections("html", page) == {"售后政策": "七天内可以退货。"}


def test_element_named_page_is_no_furniture():
    assert sections("html", '<body><div id="page" class="page"><h1>A</h1><p>text</p></div>') == {"A": "text"}


def test_title_of_a_page_stands_where_its_content_has_no_first_heading():
    head = "<head><title>User\n guide</title></head>"
    asciidoctor = f"""{head}<div id="header"><h1>User guide</h1></div><div id="content">
        <p>How all of it is used.</p><h2>Install</h2><p>Unpack it.</p></div>"""
    found = documents("a.html", extract("html", asciidoctor), "html", "2024-01-01")
    assert [each.title for each in found] == ["User guide", "User guide > Install"]
    found = documents("a.html", extract("html", f"{head}<h1>Guide</h1><p>text"), "html", "2024-01-01")
    assert [each.title for each in found] == ["Guide"]


def test_page_of_mediawiki_loses_its_links_to_edit_and_its_categories():
    page = """<div id="content" role="main"><h1>Backup</h1><p>Daily, to the tape library.</p>
        <h2>Restore<span class="mw-editsection">[edit]</span></h2><p>Ask.</p>
        <div class="printfooter">Retrieved from x</div><div id="catlinks">Categories: A</div></div>"""
    assert sections("html", page) == {"Backup": "Daily, to the tape library.", "Backup > Restore": "Ask."}


def test_listings_of_org_are_text_and_links_to_the_source_are_none():
    page = '<body><h1>A <a class="src" href="a.rs">source</a></h1><pre class="src src-sh">ls -la</pre>'
    assert sections("html", page) == {"A": "ls -la"}


def test_form_that_holds_most_of_a_page_is_its_text():
    page = "<body><form id=aspnetForm><p>Opening hours are from nine to five</p></form><p>end</p></body>"
    assert sections("html", page) == {"": "Opening hours are from nine to five\n\nend"}
    assert sections("html", "<body><form>Search <input></form><p>some text</p></body>") == {"": "some text"}


def test_page_that_confluence_exports_is_its_content():
    page = """<!DOCTYPE html><html><head><title>IT : VPN</title></head><body class="theme-default">
        <div id="page"><div id="main" class="aui-page-panel"><div id="main-header">
        <div id="breadcrumb-section"><ol id="breadcrumbs"><li><a href="index.html">IT</a></li></ol></div>
        <h1 id="title-heading" class="pagetitle"><span id="title-text">IT : VPN</span></h1></div>
        <div id="content" class="view"><div class="page-metadata">Created by <span>Ann</span> on Mar 3</div>
        <div id="main-content" class="wiki-content group"><p>Install the client first.</p>
        <h2 id="VPN-Linux">Linux</h2><table class="confluenceTable"><tr><th>OS</th><th>Port</th></tr></table>
        </div><div class="pageSection group"><h2 id="attachments" class="pageSectionTitle">Attachments:</h2>
        <div class="greybox"><a href="1.png">1.png</a> (image/png)<br/></div></div></div></div>
        <div id="footer" role="contentinfo"><p>Generated by Confluence</p></div></div></body></html>"""
    assert sections("html", page) == {
        "IT : VPN": "Install the client first.",
        "IT : VPN > Linux": "OS | Port",
    }


def test_html_is_decoded_as_it_declares():
    page = '<meta charset="gbk"><title>标题</title><p>中文</p>'
    (found,) = documents("a.html", extract("html", page.encode("gbk")), "html", "2024-01-01")
    assert (found.title, found.text) == ("标题", "中文")
    assert sections("html", "<p>é</p>".encode("utf-16")) == {"": "é"}
    assert problem("html", b"<meta charset=ascii><p>\n\x81\xff</p>").startswith(
        "not the encoding that it declares (line 2, byte 24); save"
    )
    assert problem("html", b"<p>\n\xff</p>").startswith(
        "not UTF-8, and declares no other encoding (line 2, byte 4); save"
    )


@pytest.mark.parametrize(
    ("declared", "written", "text"),
    [
        ("gb2312", "gb18030", "朱鎔基"),
        ("Shift_JIS", "cp932", "①㈱"),
        ("x-sjis", "cp932", "①㈱"),
        ("euc-kr", "cp949", "똠방"),
        ("big5", "cp950", "€ 碁"),
        ("iso-8859-1", "cp1252", "5 € “net”"),
        ("utf-16", "utf-8", "é"),
    ],
)
def test_html_in_the_larger_encoding_that_programs_write_is_read(declared, written, text):
    page = f'<meta http-equiv="Content-Type" content="text/html; charset={declared}"><p>{text}</p>'
    assert sections("html", page.encode(written)) == {"": text}


def test_html_in_latin_1_with_bytes_that_windows_1252_lacks_is_read():
    assert sections("html", b"<meta charset=latin1><p>caf\xe9 \x81</p>") == {"": "café"}


def test_utf_16_of_windows_is_read():
    assert sections("text", "Füße\r\n".encode("utf-16")) == {"": "Füße"}
    assert sections("markdown", b"\xfe\xff" + "# A\n字".encode("utf-16-be")) == {"A": "字"}
    assert problem("text", b"a\n\xff").startswith("not UTF-8 (line 2, byte 2); save it as UTF-8")


def test_html_entities_do_not_multiply_or_read_files(tmp_path):
    (tmp_path / "secret").write_text("secret words")
    bomb = '<!DOCTYPE html [<!ENTITY a "xxxxxxxxxx"><!ENTITY b "&a;&a;&a;">'
    page = f'{bomb}<!ENTITY c SYSTEM "file://{tmp_path}/secret">]><body><p>see &b; &c; end</p></body>'
    (found,) = extract("html", page).sections
    assert "xxxxxxxxxx" * 2 not in found.text
    assert "secret words" not in found.text


def test_pdf_gives_a_section_a_page():
    found = extract("pdf", pdf(["Hello world", "", "Third page"], title="My Book"))
    made = list(documents("a/b.pdf", found, "pdf", "2024-01-01"))
    assert [(d.id, d.title, d.text) for d in made] == [
        ("a/b.pdf#page-1", "My Book > page 1", "Hello world"),
        ("a/b.pdf#page-3", "My Book > page 3", "Third page"),
    ]


@pytest.mark.parametrize(
    ("written", "title"),
    [
        ("Microsoft Word - plan_v3.doc", "plan_v3"),
        ("Microsoft PowerPoint - Q1 review", "Q1 review"),
        ("untitled", ""),
        ("A guide to Microsoft Word - 2nd ed.", "A guide to Microsoft Word - 2nd ed."),
    ],
)
def test_title_that_a_program_put_into_a_pdf_is_no_title(written, title):
    assert extract("pdf", pdf(["text"], title=written)).title == title


def test_word_headings_make_sections():
    content = docx(
        [
            ("Title", "Manual"),
            ("Heading1", "Install"),
            ("", "Some <text>"),
            ("Heading2", "Linux"),
            ("", "apt"),
            ("Heading1", "安装"),
            ("", "中文"),
        ]
    )
    assert sections("docx", content) == {
        "Manual > Install": "Some <text>",
        "Manual > Install > Linux": "apt",
        "Manual > 安装": "中文",
    }


def test_slides_and_sheets_make_sections():
    slides = extract("pptx", pptx([("Intro", "Hello", "say hi"), ("Only a title", "", "")]))
    assert [(d.id, d.title, d.text) for d in documents("talk.pptx", slides, "pptx", "d")] == [
        ("talk.pptx#slide-1", "talk > Intro", "Hello\n\nsay hi"),
        ("talk.pptx#slide-2", "talk > Only a title", "Only a title"),
    ]
    sheets = extract("xlsx", xlsx({"Prices": [["name", "price"], ["tea", 3.0], ["milk", 1.25]], "Empty": []}))
    assert [(d.id, d.title, d.text) for d in documents("p.xlsx", sheets, "xlsx", "d")] == [
        ("p.xlsx#prices", "p > Prices", "name | price\ntea | 3\nmilk | 1.25")
    ]


def test_archives_that_unpack_too_far_or_declare_entities_are_refused(monkeypatch):
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 1 << 20)
    bomb = zipped({"word/document.xml": b"0" * (2 << 20)})
    assert problem("docx", bomb).startswith("unpacks to more than 1 MiB; ")
    assert "document type" in problem("docx", docx([("", "x")], '<!DOCTYPE a [<!ENTITY b "c">]>'))
    lying = bytearray(zipped({"word/document.xml": b"0" * (2 << 20)}))
    at = lying.rindex(b"PK\x01\x02") + 24
    lying[at : at + 4] = (10).to_bytes(4, "little")  # the size in the directory
    assert "; " in problem("docx", bytes(lying))


def test_ids_are_unique_and_do_not_change_with_other_sections():
    outline = Outline()
    for level, heading in [(1, "A"), (2, "B"), (2, "B"), (2, "b 2"), (1, "?"), (1, "安装 nginx")]:
        outline.heading(level, heading)
        outline.block(f"text of {heading}")
    ids = [each.id for each in documents("x.md", Extract(outline.sections()), "markdown", "d")]
    assert ids == ["x.md#a", "x.md#a/b", "x.md#a/b-2", "x.md#a/b-2-2", "x.md#section", "x.md#安装-nginx"]
    assert slug("É" * 100) == "é" * 60


def test_control_characters_are_left_out():
    assert sections("text", "a\x1b[31mb\x0cc\x9b") == {"": "a[31mb\nc"}
    assert sections("markdown", "# T\x1b\n\na\x1b[31mb\x07\n") == {"T": "a[31mb"}
