"""The browser walk finds what it is there to find: each page here is broken in one way. (Skipped without a browser.)"""

from __future__ import annotations

import pytest

from tests.check_report import browser, faults, served  # noqa: F401  (a fixture)

GOOD = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Good</title>
<link rel="icon" href="data:,"></head><body><main>
<h1 id="top">One</h1><h2>Two</h2><p style="color: #222; background: #fff">Text with a <a href="#top">link</a>,
<a href="other.html#there">another</a> and <a href="https://example.org">one to the web</a>.</p>%s
</main></body></html>"""


@pytest.fixture
def walk(browser, tmp_path):  # noqa: F811
    def walk(extra: str) -> list[str]:
        (tmp_path / "other.html").write_text('<p id="there">')
        (tmp_path / "page.html").write_text(GOOD % extra)
        with served(tmp_path) as site:
            return faults(browser, tmp_path, site, "page.html", 390)

    return walk


def test_a_good_page_has_no_fault(walk):
    assert walk("") == []


@pytest.mark.parametrize(
    ("extra", "complaint"),
    [
        ("<script>console.error('oh')</script>", "console: oh"),
        ("<script>undefined.oh</script>", "script: Cannot read properties of undefined"),
        ('<img src="none.png" alt="nothing">', "missing image: http:"),
        ('<img src="https://example.org/x.png" alt="far">', "asks the web for https://example.org/x.png"),
        ('<p style="width: 1em; overflow-wrap: anywhere">hypothesis</p>', "torn to letters: hypothesis"),
        ('<p style="width: 500px; overflow-wrap: anywhere">wide</p>', "scrolls sideways: ['<p style="),
        ('<a href="gone.html">gone</a>', "dead link: http:"),
        ('<a href="other.html#here">not there</a>', "dead link: http:"),
        ('<p style="color: #999; background: #fff">pale</p>', "color-contrast: p:nth-child(4): Element"),
        ("<h4>deep</h4>", "heading-order: h4"),
        ('<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">', "image-alt: img"),
    ],
)
def test_a_fault_is_found(walk, extra, complaint):
    found = walk(extra)
    assert any(fault.startswith(complaint) for fault in found), found
