"""PDF and office files inside requests: opened and searched, and refused where they hold what must not leave."""

from __future__ import annotations

import pytest
from documents_support import docx, pdf, zipped
from hypothesis import given, settings
from hypothesis import strategies as st

from safellm._core.documents import Unreadable, is_document, texts_of

MAIL = "ann.lee@corp-mail.org"


@pytest.mark.parametrize("runs", [(MAIL,), (MAIL[:5], MAIL[5:9], MAIL[9:])])
def test_words_of_a_paragraph_stand_together_when_they_are_cut_into_runs(runs: tuple[str, ...]) -> None:
    """A value that Word keeps in several runs is one in the text that is searched."""
    assert MAIL in "".join(texts_of(docx(*runs)) or ())


def test_cells_and_links_are_read() -> None:
    """Shared texts, numbers and notes of a sheet, slides, links and OpenDocument texts come out; numbers of shared texts don't."""
    sheet = '<worksheet><row><c t="s"><v>4711</v></c><c><v>5362287140</v></c></row></worksheet>'
    texts = texts_of(
        zipped(
            {
                "xl/sharedStrings.xml": f"<sst><si><t>{MAIL}</t></si></sst>",
                "xl/worksheets/sheet1.xml": sheet,
                "word/_rels/document.xml.rels": '<Relationships><Relationship Target="mailto:bob@corp-mail.org"/></Relationships>',
                "ppt/slides/slide1.xml": "<p:sld xmlns:p='p' xmlns:a='a'><a:p><a:r><a:t>on a slide</a:t></a:r></a:p></p:sld>",
            }
        )
    )
    whole = "\n".join(texts or ())
    assert all(value in whole for value in (MAIL, "5362287140", "mailto:bob@corp-mail.org", "on a slide"))
    assert "4711" not in whole
    assert texts_of(zipped({"content.xml": "<t:p xmlns:t='t'>in a text</t:p>"}, kind="mimetype")) == ("in a text\n",)


def test_pdf_text_is_read() -> None:
    """The words on a page of a PDF file come out, also where bytes stand before its mark."""
    assert MAIL in "".join(texts_of(pdf(f"Write to {MAIL}.")) or ())
    assert is_document(b"\r\n" + pdf("x")[:20])


@pytest.mark.parametrize(
    "data",
    [
        b"%PDF-1.7\nnothing of a PDF file",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
        zipped({"word/document.xml": "<w:p"}),
        zipped({"word/document.xml": '<!DOCTYPE a [<!ENTITY b "bbbb">]><a>&b;</a>'}),
        zipped({"word/document.xml": '<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>'}),
        docx(MAIL)[:-30],
    ],
    ids=["pdf", "before-2007", "xml", "entity", "external", "cut"],
)
def test_damaged_documents_are_unreadable(data: bytes) -> None:
    """What can't be searched says so, whatever is wrong with it; an entity is never resolved."""
    with pytest.raises(Unreadable):
        texts_of(data)


def test_documents_that_unpack_to_very_much_are_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an archive says of its sizes need not be true: what comes out of it is counted."""
    monkeypatch.setattr("safellm._core.documents._MOST_BYTES", 100_000)
    with pytest.raises(Unreadable, match="unpacks"):
        texts_of(zipped({"word/document.xml": f"<a>{' ' * 200_000}</a>"}))


@settings(max_examples=60)
@given(st.binary(max_size=300), st.sampled_from([b"PK\x03\x04", b"%PDF-", docx("a"), pdf("a")]), st.integers(0, 900))
def test_any_bytes_are_read_or_unreadable(noise: bytes, head: bytes, at: int) -> None:
    """No file breaks the reader otherwise than by being unreadable."""
    data = head[:at] + noise + head[at:]
    try:
        texts = texts_of(data)
    except Unreadable:
        return
    assert texts is None or all(isinstance(text, str) for text in texts)
