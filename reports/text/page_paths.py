"""The path of each page, relative to the site's folder."""

from functools import lru_cache

from reports.text.escaping import file_name


@lru_cache(maxsize=8192)
def run_place(run_id: str) -> str:
    """Returns the path of a run's page."""
    return f"runs/{file_name(run_id)}/index.html"


def night_place(run_id: str) -> str:
    """Returns the path of a night's verdicts."""
    return f"nights/{file_name(run_id)}/index.html"


def series_place(device: str, workload_key: str) -> str:
    """Returns the path of a workload's history on a device."""
    return f"series/{file_name(device)}/{file_name(workload_key)}/index.html"


def device_place(device: str) -> str:
    """Returns the path of a device's page."""
    return f"devices/{file_name(device)}/index.html"


def workload_place(key: str) -> str:
    """Returns the path of a workload with its settings side by side."""
    return f"workloads/{file_name(key)}/index.html"


def comparison_place(before: str, after: str) -> str:
    """Returns the path of the comparison of two runs."""
    return f"comparisons/{file_name(before)}--{file_name(after)}/index.html"


TRAININGS = "trainings/index.html"
"""The list of all trainings."""


def training_place(group_id: str) -> str:
    """Returns the path of the page of a command's trainings."""
    return f"trainings/{file_name(group_id)}/index.html"


def root_of(place: str) -> str:
    """Returns the way from a page back to the site's folder."""
    return "../" * place.count("/")
