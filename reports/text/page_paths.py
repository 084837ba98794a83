"""Where each page of the site is, relative to the site's folder."""

from functools import lru_cache

from reports.text.escaping import file_name


@lru_cache(maxsize=8192)
def run_place(run_id: str) -> str:
    """The page of a run."""
    return f"runs/{file_name(run_id)}/index.html"


def night_place(run_id: str) -> str:
    """The page of what a night judged."""
    return f"nights/{file_name(run_id)}/index.html"


def series_place(device: str, workload_key: str) -> str:
    """The page of a workload's history on a device."""
    return f"series/{file_name(device)}/{file_name(workload_key)}/index.html"


def device_place(device: str) -> str:
    """The page of a device."""
    return f"devices/{file_name(device)}/index.html"


def workload_place(key: str) -> str:
    """The page of a workload with its settings side by side."""
    return f"workloads/{file_name(key)}/index.html"


def comparison_place(before: str, after: str) -> str:
    """The page of two runs side by side."""
    return f"comparisons/{file_name(before)}--{file_name(after)}/index.html"


def root_of(place: str) -> str:
    """The way from a page back to the site's folder."""
    return "../" * place.count("/")
