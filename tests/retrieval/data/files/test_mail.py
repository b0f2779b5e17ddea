"""What mails give: subject, date, and the text that their sender wrote. No mail breaks the reader."""

from __future__ import annotations

import base64
from email.message import EmailMessage

import pytest

from retrieval.data.files.convert import convert
from retrieval.data.files.sections import Extract, documents

HEAD = b"From: Ann <ann@example.org>\nTo: bob@example.org\nSubject: Printer\n"
DATED = HEAD + b"Date: Fri, 3 May 2024 10:00:00 +0200\n"


def text_of(content: bytes) -> str:
    (section,) = convert("eml", content).sections
    return section.text


def test_mail_is_a_document_with_its_subject_as_title_and_its_date():
    found = convert("eml", DATED + b"\nThe printer is on fire.\n")
    (document,) = documents("inbox/1.eml", found, "eml", "2025-01-01")
    assert document.id == "inbox/1.eml"
    assert document.title == "Printer"
    assert document.text == "The printer is on fire."
    assert document.metadata == {"type": "eml", "date": "2024-05-03T10:00:00+02:00", "path": "inbox/1.eml"}


@pytest.mark.parametrize(
    "date", [b"", b"Date: yesterday\n", b"Date: Fri, 99 May 2024 10:00:00\n", b"Date:\n"]
)
def test_mail_without_a_date_has_that_of_the_file(date):
    (document,) = documents("1.eml", convert("eml", date + HEAD + b"\nx\n"), "eml", "2025-01-01")
    assert document.metadata["date"] == "2025-01-01"


def test_time_without_a_zone_is_utc():
    found = convert("eml", b"Subject: x\nDate: Fri, 3 May 2024 10:00:00 -0000\n\nx\n")
    assert found.fields == {"date": "2024-05-03T10:00:00+00:00"}


def test_quoted_replies_and_signature_are_left_out():
    body = b"\nTry another cable.\n\n> It is dead.\n>> Since when?\n\nThen call.\n-- \nAnn\nTel. 1\n> end\n"
    assert text_of(HEAD + body) == "Try another cable.\n\n\nThen call."
    assert text_of(HEAD + b"\na\n--\nb > c\n") == "a\n--\nb > c"
    assert convert("eml", HEAD + b"\n> only a quote\n-- \nAnn\n").sections == []


def test_of_alternatives_the_plain_one_is_read_and_attachments_are_not():
    mail = EmailMessage()
    mail["Subject"] = "Two"
    mail.set_content("plain words\n")
    mail.add_alternative("<p>rich words</p>", subtype="html")
    mail.add_attachment("secret words", filename="notes.txt")
    inner = EmailMessage()
    inner.set_content("forwarded words")
    mail.add_attachment(inner)
    assert text_of(mail.as_bytes()) == "plain words"


def test_html_is_read_where_there_is_no_plain_text():
    mail = EmailMessage()
    mail["Subject"] = "News"
    mail.set_content(" \n")
    mail.add_alternative(
        "<h1>Sale</h1><p>Cheap <b>ink</b></p><div class=gmail_signature>Ann</div>"
        "<div class=moz-cite-prefix>On Friday Bob wrote:</div><blockquote type=cite><p>old</p>"
        "</blockquote><h2>End</h2><p>bye</p>",
        subtype="html",
    )
    assert text_of(mail.as_bytes()) == "Sale\n\nCheap ink\n\nEnd\n\nbye"


def test_texts_around_an_attachment_are_read_in_order():
    part = b"--b\nContent-Type: text/plain\n\n%s\n"
    image = b"--b\nContent-Type: image/png\n\nAAAA\n"
    mail = HEAD + b"Content-Type: multipart/mixed; boundary=b\n\n" + part % b"one" + image + part % b"two"
    assert text_of(mail + b"--b--\n") == text_of(mail) == "one\n\ntwo"  # the second lacks its end


@pytest.mark.parametrize(
    ("declared", "written", "text"),
    [
        ("gb2312", "gb18030", "朱鎔基"),
        ("Shift_JIS", "cp932", "①㈱"),
        ("x-sjis", "cp932", "①㈱"),
        ("iso-8859-1", "cp1252", "5 € “net”"),
        ("us-ascii", "utf-8", "Füße"),
        ("us-ascii", "cp1252", "Füße"),
        ("unheard-of", "utf-8", "Füße"),
        ("koi8-r", "koi8-r", "Привет"),
        ("utf-8", "utf-8", "Füße"),
        ("utf-16-le", "utf-16-le", "Füße"),
    ],
)
def test_subject_and_text_in_the_encoding_that_programs_write_are_read(declared, written, text):
    encoded = base64.b64encode(text.encode(written))
    name = declared.encode()
    mail = b"Subject: =?%s?B?%s?=\n =?%s?B?%s?= end\n" % (name, encoded, name, encoded)
    mail += b"Content-Type: text/plain; charset=%s\nContent-Transfer-Encoding: base64\n\n%s\n" % (
        name,
        encoded,
    )
    found = convert("eml", mail)
    assert (found.title, found.sections[0].text) == (f"{text}{text} end", text)


def test_bytes_that_fit_no_encoding_are_replaced_and_the_rest_is_read():
    declared = b"Content-Type: text/plain; charset=%s\n\n"
    assert text_of(HEAD + declared % b"utf-8" + b"caf\xe9 au lait") == "caf\ufffd au lait"
    assert text_of(HEAD + declared % b"euc-jp" + b"a \xff b") == "a \ufffd b"
    assert text_of(HEAD + b"Content-Type: text/html\n\n<meta charset=koi8-r><p>\xf0\xd2") == "Пр"
    assert text_of(HEAD + b"Content-Type: text/html\n\n<meta charset=utf-8><p>a\xff") == "aÿ"
    assert convert("eml", b"Subject: caf\xe9\n\nx").title == "café"


@pytest.mark.parametrize(
    "head",
    [
        b"Subject: =?utf-8?b?a?=\n",
        b"Subject: " + b"=?utf-8?q?a?= " * 100_000 + b"\n",
        b"Subject: " + b"=?" * 100_000 + b"\n",
        b"Subject: x\nContent-Type: ;;;=\n",
        b"Subject: x\nContent-Type: text/plain; charset=" + b"(" * 100_000 + b"\n",
        b"Subject: x\nContent-Type: text/plain; charset*=a'b'%ff%\n",
        b"Subject: x\nContent-Type: text/plain; charset*1*=x; charset*0*=a\n",
        b"Subject: x\nContent-Type: text/plain; charset=\x01\n",
        b"Subject: x\nContent-Type: text/plain; charset=idna\n",
        b"Subject: x\nContent-Type: text/plain; charset=utf-16x\n",
        b"Subject: x\nContent-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/html\n",
        b"\xef\xbb\xbfSubject: x\n",
    ],
)
def test_odd_and_hostile_headers_break_no_mail(head):
    found = convert("eml", head + b"\n$ = some text =\n")
    assert len(found.title) < 2100
    assert [section.text for section in found.sections] == ["$ = some text ="]


@pytest.mark.parametrize(
    "head",
    [
        b'Content-Disposition: inline; filename="\n' + b'X: "\n' * 1000,
        b"Content-Type: multipart/mixed\nContent-Transfer-Encoding: base64\n",
        b"Content-Type: multipart/mixed; boundary=\n",
    ],
)
def test_attachment_or_parts_that_are_not_there_give_no_text(head):
    assert convert("eml", b"Subject: x\n" + head + b"\nsome text\n").sections == []


def test_mail_that_is_cut_anywhere_is_read():
    mail = EmailMessage()
    mail["Subject"] = "Füße"
    mail.set_content("plain ü\n", cte="base64")
    mail.add_alternative("<p>rich ü</p>", subtype="html")
    content = mail.as_bytes()
    for size in range(len("Subject:"), len(content)):
        assert isinstance(convert("eml", content[:size]), Extract)


def test_byte_order_marks_are_left_out():
    assert text_of(b"\xef\xbb\xbf" + HEAD + b"\n\xef\xbb\xbfx\n") == "x"


def test_what_is_no_mail_is_told():
    for content in (b"\nno header\n", b"just a line of text\n", "Subject: x\n\ny".encode("utf-16")):
        with pytest.raises(
            ValueError, match=r"^is no mail, for it begins with no header; rename it or remove"
        ):
            convert("eml", content)
    with pytest.raises(RecursionError):  # of which the worker makes a line
        convert(
            "eml",
            b"".join(b"Content-Type: multipart/mixed; boundary=%d\n\n--%d\n" % (n, n) for n in range(3000)),
        )


MBOX = (
    b"From a@example.org Fri May  3 10:00:00 2024\n" + DATED + b"\nIt burns.\n>From here on.\n> quote\n\n"
    b"From b@example.org Fri May  3 11:00:00 2024\nSubject: Re: Printer\n\nFrom now on\nnot.\n\n"
    b"From b@example.org Fri May  3 12:00:00 2024\nSubject: empty\n\n\n\n"
    b"From b@example.org Fri May  3 12:00:00 2024\n\nno subject\n"
)


@pytest.mark.parametrize("content", [MBOX, MBOX.replace(b"\n", b"\r\n")])
def test_mbox_gives_a_document_a_message(content):
    found = list(documents("a/inbox.mbox", convert("mbox", content), "mbox", "2025-01-01"))
    assert [(each.id, each.title, each.text, each.metadata["date"]) for each in found] == [
        ("a/inbox.mbox#printer", "Printer", "It burns.\nFrom here on.", "2024-05-03T10:00:00+02:00"),
        ("a/inbox.mbox#re-printer", "Re: Printer", "From now on\nnot.", "2025-01-01"),
        ("a/inbox.mbox", "inbox", "no subject", "2025-01-01"),
    ]


def test_what_is_no_mbox_is_told():
    for content in (b"Subject: x\n\n" + MBOX, b"\n" + MBOX, b"From Ann\n\nx", b"x"):
        with pytest.raises(ValueError, match=r'^does not begin with "From ", a name and a time, as an mbox'):
            convert("mbox", content)
    assert convert("mbox", b"From 1:00").sections == []
    assert convert("mbox", b"From 1:00\n\n" * 10_000).sections == []


def test_broken_message_of_an_mbox_is_numbered(monkeypatch):
    def fail(content):
        raise LookupError(content)

    monkeypatch.setattr("retrieval.data.files.formats.mail.decode_header", fail)
    with pytest.raises(
        ValueError, match=r"^message 1 cannot be read \(LookupError\); remove it from the file"
    ):
        convert("mbox", MBOX)
