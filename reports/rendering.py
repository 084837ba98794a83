"""Templates and the assets that all pages share.

Assets carry the hash of their content in their names: an old page keeps the style and scripts it was made for, and the
4.8 MB of plotly are written once.
"""

import hashlib
import importlib.resources
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from reports.atomic import write_text
from reports.escaping import json_for_script, prose, visible
from reports.moments import shown

_STATIC = ("page.js", "site.css", "tables.js", "figures.js")


def environment() -> Environment:
    """Jinja with escaping always on, and an error for whatever a template names and nobody gave."""
    jinja = Environment(
        loader=PackageLoader("reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    jinja.filters["script_json"] = json_for_script
    jinja.filters["prose"] = prose
    jinja.filters["moment"] = shown
    jinja.globals["zip"] = partial(zip, strict=True)
    return jinja


def write_assets(site: Path) -> dict[str, str]:
    """Write what is not there yet into ``assets/``; returns plain name to the path from the site's root.

    Raises:
        SiteNotWritable: the folder can't be written.
    """
    static = importlib.resources.files("reports") / "static"
    contents = {name: (static / name).read_text(encoding="utf-8") for name in _STATIC}
    contents["plotly.min.js"] = get_plotlyjs()
    return {name: _write_asset(site, name, content) for name, content in contents.items()}


def render(jinja: Environment, template: str, facts: Mapping[str, Any]) -> str:
    """The text of a page."""
    return jinja.get_template(template).render(facts)


def _write_asset(site: Path, name: str, content: str) -> str:
    stem, _, ending = name.partition(".")
    encoded = content.encode("utf-8")
    place = f"assets/{stem}-{hashlib.sha256(encoded).hexdigest()[:10]}.{ending}"
    path = site / place
    # A file of another size was damaged from outside: replacing is atomic, so it can't be half of ours.
    if not path.is_file() or path.stat().st_size != len(encoded):
        write_text(path, content)
    return place
