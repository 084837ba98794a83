"""Reads a page: its words, links and ids, including those of the rows that its script draws."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

DATA = re.compile(r'<script type="application/json".*?</script>', re.DOTALL)


class PageText(HTMLParser):
    """The words of a page without its figures' data (with blanks joined in `text`), its tags, links and ids."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: dict[str, list[list[dict[str, Any]]]] = {}
        self._table = ""
        self._rows: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.plain = "".join(self.words)
        self.text = re.sub(r"\s+", " ", " ".join(self.words)).replace("\u00a0", " ")
        ids = [attributes["id"] or "" for _, attributes in self.tags if attributes.get("id")]
        self.ids = ids + [name for name in self._rows if name]
        cells = [cell for rows in self.rows.values() for row in rows for cell in row]
        self.links = [link["href"] or "" for link in self.all("a")] + [one["href"] for one in cells if "href" in one]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag == "script":
            name = found.get("id") or ""
            self._table = name if name.startswith("t-") else "-"

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._table = ""

    def handle_data(self, data: str) -> None:
        if not self._table:
            self.words.append(data)
        elif self._table != "-":
            self._read_rows(self._table.removeprefix("t-").removesuffix("-data"), json.loads(data))

    def _read_rows(self, table: str, rows: list[Any]) -> None:
        for anchor, cells in rows:
            self._rows.append(anchor)
            read = [{"main": cell} if isinstance(cell, str) else cell for cell in cells]
            self.rows.setdefault(table, []).append(read)
            for cell in read:
                state = [str(part) for part in cell.get("state", [])[:2]]
                displayed = [cell.get("main", "")] if not state else [" ".join(state)]
                self.words += [
                    " ",
                    *displayed,
                    *(f" {words}" for key in ("small", "badges", "tags") for words in cell.get(key, [])),
                ]

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Returns the attributes of every such tag."""
        return [attributes for name, attributes in self.tags if name == tag]
