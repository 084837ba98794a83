"""Writing the pages of what lasts longer than a run: nights, series, devices, workloads."""

from collections.abc import Sequence

from reports.device_page import HEALTH_CSV, device_page, health_csv
from reports.freshness import digest
from reports.histories import DeviceSummary, HistorySummary, WorkloadSummary
from reports.measured import measurements
from reports.night_page import VERDICTS_JSON, night_page
from reports.night_verdicts import VERDICTS_CSV, changed_first
from reports.places import device_place, night_place, series_place, workload_place
from reports.series_page import POINTS_CSV, points_csv, series_page
from reports.source import ReportSource, RunSummary
from reports.verdict_files import verdicts_csv, verdicts_json
from reports.workload_page import workload_page
from reports.writing import Site


def write_night(source: ReportSource, site: Site, run: RunSummary) -> None:
    """What a night judged."""
    place, made_from = night_place(run.run_id), digest(run.stamp)
    if site.is_fresh(place, made_from):
        return
    verdicts = changed_first(source.verdicts(run.run_id))
    site.write_beside(place, VERDICTS_CSV, verdicts_csv(verdicts))
    site.write_beside(place, VERDICTS_JSON, verdicts_json(verdicts))
    site.write_page(place, night_page(run, verdicts, source.surroundings(run.run_id)), made_from)


def places(source: ReportSource, run_id: str | None) -> set[str]:
    """The pages that :func:`write_all` writes."""
    found = {device_place(one.name) for one in source.devices(run_id)}
    found |= {series_place(one.device, one.workload_key) for one in source.histories(run_id)}
    return found | {workload_place(one.key) for one in source.workloads(run_id)}


def write_all(source: ReportSource, site: Site, run_id: str | None) -> None:
    """The pages of the devices, series and workloads that a run touched; of all when None."""
    _write_devices(source, site, source.devices(run_id))
    for history in source.histories(run_id):
        _write_series(source, site, history)
    for workload in source.workloads(run_id):
        _write_workload(source, site, workload)


def _write_devices(source: ReportSource, site: Site, devices: Sequence[DeviceSummary]) -> None:
    stale = [one for one in devices if not site.is_fresh(device_place(one.name), digest(one.stamp))]
    histories = source.histories() if stale else []
    for device in stale:
        place, health = device_place(device.name), source.health(device.name)
        own = [one for one in histories if one.device == device.name]
        site.write_beside(place, HEALTH_CSV, health_csv(health))
        site.write_page(place, device_page(device, health, own), digest(device.stamp))


def _write_series(source: ReportSource, site: Site, summary: HistorySummary) -> None:
    place, made_from = series_place(summary.device, summary.workload_key), digest(summary.stamp)
    if site.is_fresh(place, made_from):
        return
    histories = source.history(summary.device, summary.workload_key)
    site.write_beside(place, POINTS_CSV, points_csv(histories))
    site.write_page(place, series_page(summary, histories), made_from)


def _write_workload(source: ReportSource, site: Site, summary: WorkloadSummary) -> None:
    place, made_from = workload_place(summary.key), digest(summary.stamp)
    if site.is_fresh(place, made_from):
        return
    newest = source.latest(summary.key)
    found = measurements({"measurements": newest})
    keys = {str(record.get("measurement_id")): str(record.get("workload_key", "")) for record in newest}
    site.write_page(place, workload_page(summary, found, keys), made_from)
