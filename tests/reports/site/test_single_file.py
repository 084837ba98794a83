"""A page to send: everything it needs is inside, and nothing in it can leave its element."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest

from reports.files import SiteNotWritable
from reports.site import writing
from reports.site.writing import write_single_file

PAGE = """<!doctype html>
<html lang="en"><head>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'self'">
<link rel="stylesheet" href="../assets/site.css">
<script src="../assets/first.js"></script>
<script defer src="../assets/late.js"></script>
</head><body>
<a href="../index.html">All runs</a> <a href="#top">up</a>
<a class="file" href="./a&amp;b.csv" download>rows</a>
</body></html>
"""
FIRST, LATE = "document.title = '</script><b>';", "window.late = 1;"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "site.css").write_text("body{}")
    (tmp_path / "assets" / "first.js").write_text(FIRST)
    (tmp_path / "assets" / "late.js").write_text(LATE)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a&b.csv").write_text("a,b\n")
    (tmp_path / "run" / "index.html").write_text(PAGE)
    return tmp_path / "run" / "index.html"


def sent(page: Path) -> str:
    return write_single_file(page, page.parent / "sent.html").read_text(encoding="utf-8")


def test_style_and_scripts_are_inside_and_a_deferred_one_comes_last(page: Path) -> None:
    text = sent(page)
    assert "<style>body{}</style>" in text and "assets/" not in text
    assert text.index("document.title") < text.index("</head>") < text.index(LATE) < text.index("</body>")


def test_a_script_cannot_end_its_own_element(page: Path) -> None:
    text = sent(page)
    assert "document.title = '<\\/script><b>';" in text
    assert len(re.findall("</script>", text)) == 2


def test_the_policy_allows_the_scripts_inside_and_no_others(page: Path) -> None:
    text = sent(page)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in scripts}
    (policy,) = re.findall(r'Policy" content="([^"]*)"', text)
    allowed = re.search(r"script-src ([^;]*);", policy)
    assert allowed is not None and set(allowed[1].split()) == hashes and len(hashes) == 2
    assert policy.startswith("default-src 'none';") and "'self'" not in policy


def test_a_download_is_inside_and_links_to_other_pages_are_text(page: Path) -> None:
    text = sent(page)
    data = base64.b64encode(b"a,b\n").decode()
    assert f'<a class="file" href="data:text/csv;base64,{data}" download="a&amp;b.csv">rows</a>' in text
    assert "All runs" in text and "index.html" not in text
    assert '<a href="#top">up</a>' in text


def test_a_file_too_large_to_send_is_named_with_its_size(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MOST_FILE_BYTES", 4)
    assert "base64," in sent(page)
    (page.parent / "a&b.csv").write_bytes(bytes(3_000_000))
    text = sent(page)
    assert "rows (not in this file: 3 MB)" in text and "base64," not in text


def test_a_page_whose_asset_is_gone_is_one_sentence_and_no_file(page: Path) -> None:
    (page.parent.parent / "assets" / "late.js").unlink()
    with pytest.raises(SiteNotWritable):
        sent(page)
    assert not (page.parent / "sent.html").exists()
