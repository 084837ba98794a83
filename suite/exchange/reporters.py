"""Reporters: what the store has, as text for another program. `suite report --as NAME` writes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from foundation.errors import unknown_name
from foundation.plugins import Registry, require_callable
from reports.model.source import ReportSource
from suite.exchange.openmetrics import openmetrics
from suite.exchange.pytorch_records import pytorch_records

Reporter: TypeAlias = Callable[[ReportSource, str | None], str]
"""Returns the text for a run, or for all that the source has if there is none."""


def _accept(name: str, loaded: object) -> Reporter:
    found: Any = require_callable(name, loaded)
    return found  # type: ignore[no-any-return]  # what it returns is seen when it is called


REPORTERS: Registry[Reporter] = Registry("reporters", {"openmetrics": openmetrics, "pytorch": pytorch_records}, _accept)


def report_as(name: str, source: ReportSource, run_id: str | None) -> str:
    """Returns what the reporter of that name says of a run, or of everything. Raises UserError for an unknown one."""
    if name not in REPORTERS:
        raise unknown_name("reporter", name, REPORTERS)
    report = REPORTERS[name]
    with REPORTERS.running(name):
        text: object = report(source, run_id)
        if not isinstance(text, str):
            raise TypeError(f"it returned a {type(text).__name__}, not text")
    return text
