"""A page of the site as one file to send: style, scripts and downloads inside, links to other pages as text.

The page is taken as it was built. Its own text is escaped everywhere (writing.py) and the data of its figures holds
no ``<`` (escaping.py), so the elements that are replaced here can't be mistaken for something from outside.
"""

import base64
import hashlib
import html
import mimetypes
import re
from pathlib import Path

from reports.files import SiteNotWritable, write_text

# Larger files stay in the site's folder: mail and chat would refuse them anyway.
MOST_FILE_BYTES = 8_000_000

_STYLE = re.compile(r'<link rel="stylesheet" href="([^"]+)">')
_SCRIPT = re.compile(r'<script (?:defer )?src="([^"]+)"></script>')
_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="[^"]*">')
_ANCHOR = re.compile(r'<a ([^>]*?)href="([^"#][^"]*)"([^>]*)>(.*?)</a>', re.DOTALL)
_DEFERRED = '<script defer src="'


def write_single_file(page: Path, target: Path) -> Path:
    """Writes the built ``page`` with everything it needs to ``target`` and returns ``target``.

    Raises:
        SiteNotWritable: the page or an asset can't be read, or the target can't be written.
    """
    try:
        text = page.read_text(encoding="utf-8")
        written = _inlined(text, page.parent)
    except OSError as error:
        raise SiteNotWritable(page, error) from error
    write_text(target, written)
    return target


def _inlined(text: str, folder: Path) -> str:
    scripts: list[str] = []
    # Deferred scripts run once the page is parsed, so they go to its end.
    late: list[str] = []

    def script(found: re.Match[str]) -> str:
        content = (folder / found[1]).read_text(encoding="utf-8").replace("</script", "<\\/script")
        scripts.append(content)
        if found[0].startswith(_DEFERRED):
            late.append(f"<script>{content}</script>")
            return ""
        return f"<script>{content}</script>"

    head, body = text.split("</head>", 1)
    head = _SCRIPT.sub(script, head)
    head = _STYLE.sub(lambda found: f"<style>{(folder / found[1]).read_text(encoding='utf-8')}</style>", head)
    hashes = " ".join(f"'sha256-{_digest(content)}'" for content in scripts)
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    head = _POLICY.sub(lambda _: f'<meta http-equiv="Content-Security-Policy" content="{policy}">', head)
    head = head.replace('<html lang="en">', '<html lang="en" data-single>', 1)
    body = _ANCHOR.sub(lambda found: _link(found, folder), body)
    return head + "</head>" + body.replace("</body>", "".join(late) + "</body>")


def _digest(content: str) -> str:
    return base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode("ascii")


def _link(found: re.Match[str], folder: Path) -> str:
    before, address, after, words = found.groups()
    if "download" not in before + after:
        return words
    name = html.unescape(address).removeprefix("./")
    path = folder / name
    if path.stat().st_size > MOST_FILE_BYTES:
        return f"{words} (not in this file: {path.stat().st_size / 1e6:.0f} MB)"
    kind = mimetypes.guess_type(name)[0] or "text/plain"
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<a {before}href="data:{kind};base64,{data}" download="{html.escape(name)}">{words}</a>'
