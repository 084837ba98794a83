"""Builds the site: pages of runs, nights, trainings, series, devices and workloads, and the overview."""

from collections.abc import Sequence
from pathlib import Path

from reports.files import (
    TRAININGS,
    UnknownRun,
    comparison_place,
    device_place,
    night_place,
    run_place,
    series_place,
    training_place,
    workload_place,
    write_text,
)
from reports.model.findings import Finding
from reports.model.histories import DeviceSummary, HistoryPoint, HistorySummary, WorkloadSummary
from reports.model.measurement import in_page_order
from reports.model.source import ReportSource, RunSummary
from reports.model.traces import gather
from reports.model.training import TrainingGroupSummary
from reports.pages.comparison import COMPARISON_CSV, comparison_csv, comparison_page
from reports.pages.device import HEALTH_CSV, device_page, health_csv
from reports.pages.night import VERDICTS_JSON, night_page
from reports.pages.overview import index_file, index_pages
from reports.pages.run import run_page
from reports.pages.series import POINTS_CSV, points_csv, series_page
from reports.pages.training import training_page, trainings_page
from reports.pages.workload import workload_page
from reports.site.writing import Site, digest
from reports.tables import downloads
from reports.tables import trainings as training_files
from reports.tables.findings import leading
from reports.tables.verdicts import VERDICTS_CSV, changed_first, verdicts_csv, verdicts_json
from reports.text.numbers import sort_key


def write_night(source: ReportSource, site: Site, run: RunSummary) -> None:
    """Writes the page of a night's verdicts and its files."""
    place, made_from = night_place(run.run_id), digest(run.stamp)
    if site.is_fresh(place, made_from):
        return
    verdicts, findings = changed_first(source.verdicts(run.run_id)), source.findings(run.run_id)
    site.write_beside(place, VERDICTS_CSV, verdicts_csv(verdicts))
    site.write_beside(place, VERDICTS_JSON, verdicts_json(verdicts))
    histories = _histories(source, run, findings)
    page = night_page(run, verdicts, source.surroundings(run.run_id), findings, histories)
    site.write_page(place, page, made_from)


def _histories(source: ReportSource, run: RunSummary, findings: Sequence[Finding]) -> dict[str, Sequence[HistoryPoint]]:
    """Returns for each open finding the points, up to this night, of the series that shows it best."""
    last = sort_key(run.finished_at or run.started_at)
    found: dict[str, Sequence[HistoryPoint]] = {}
    for one in findings:
        member = leading(one)
        if member is not None and one.is_open:
            own = source.history(member.device, member.workload_key)
            points = next((history.points for history in own if history.metric == member.metric), ())
            found[one.id] = [point for point in points if sort_key(point.at) <= last]
    return found


def subject_places(source: ReportSource, run_id: str | None) -> set[str]:
    """Returns the pages that :func:`write_all` writes."""
    found = {device_place(one.name) for one in source.devices(run_id)}
    found |= {series_place(one.device, one.workload_key) for one in source.histories(run_id)}
    return found | {workload_place(one.key) for one in source.workloads(run_id)}


def write_all(source: ReportSource, site: Site, run_id: str | None) -> None:
    """Writes the pages of the devices, series and workloads that a run touched; of all if None."""
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
    site.write_page(place, workload_page(summary, in_page_order(source.latest(summary.key))), made_from)


def build(source: ReportSource, folder: Path, run_ids: Sequence[str] | None = None) -> Path:
    """Builds the pages of ``run_ids``, of their series, devices and workloads (every page if None), and the overview.

    The page of a night comes first, because people wait for it.

    Returns:
        The page to open: the run's (the night's, for a nightly run) if one was requested, otherwise the overview.

    Raises:
        UnknownRun: the store has no such run; nothing was written.
        SiteNotWritable: a file can't be written; those written before it are complete.
    """
    runs, groups = source.runs(), source.training_groups()
    known = {run.run_id: run for run in runs}
    wanted = _known(known, list(known) if run_ids is None else run_ids)
    expected = _expected(source, wanted, [None] if run_ids is None else run_ids)
    site = Site(folder, expected | _training_places(groups if run_ids is None else ()))
    for run in wanted:
        if run.purpose == "nightly":
            write_night(source, site, run)
    for run in wanted:
        _write_run(source, site, run)
    for run_id in [None] if run_ids is None else run_ids:
        write_all(source, site, run_id)
    if run_ids is None:
        _write_trainings(source, site, groups, groups)
    _write_index(source, site, runs, groups)
    if run_ids is not None and len(wanted) == 1:
        return page_of(folder, wanted[0])
    return folder / index_file(1)


def build_night(source: ReportSource, folder: Path, run_id: str) -> Path:
    """Builds only the page of a night and returns its path; raises as :func:`build` does."""
    (run,) = _known({run.run_id: run for run in source.runs()}, [run_id])
    site = Site(folder, {index_file(1)} | subject_places(source, run_id))
    write_night(source, site, run)
    return folder / night_place(run_id)


def build_training(source: ReportSource, folder: Path, group_id: str) -> Path:
    """Builds the page of a command's trainings, the list and the overview, and returns the page's path.

    Raises as :func:`build` does.
    """
    groups = source.training_groups()
    wanted = [one for one in groups if one.group_id == group_id]
    if not wanted:
        raise UnknownRun(group_id, [one.group_id for one in groups])
    site = Site(folder, {index_file(1)} | _training_places(wanted))
    _write_trainings(source, site, wanted, groups)
    _write_index(source, site, source.runs(), groups)
    return folder / training_place(group_id)


def _training_places(wanted: Sequence[TrainingGroupSummary]) -> set[str]:
    return {training_place(one.group_id) for one in wanted} | ({TRAININGS} if wanted else set())


def _write_trainings(
    source: ReportSource, site: Site, wanted: Sequence[TrainingGroupSummary], groups: Sequence[TrainingGroupSummary]
) -> None:
    """Writes the pages of the wanted trainings, and the list of all."""
    for one in wanted:
        # A device that has only trained has no page yet; once it has, this page must link to it.
        links = [site.built(device_place(name)) for name in one.devices]
        place, made_from = training_place(one.group_id), digest(one.stamp, repr(links))
        if site.is_fresh(place, made_from):
            continue
        group = source.training_group(one.group_id)
        site.write_beside(place, training_files.TRAININGS_JSON, training_files.document_text(group))
        site.write_beside(place, training_files.EVALUATIONS_CSV, training_files.evaluations_text(group.trainings))
        site.write_beside(place, training_files.STEPS_CSV, training_files.steps_text(group.trainings))
        site.write_page(place, training_page(group, site.built), made_from)
    if groups:
        site.write_page(TRAININGS, trainings_page(groups, site.built))


def build_comparison(source: ReportSource, folder: Path, a: str, b: str) -> Path:
    """Builds the page that compares run ``b`` with the earlier run ``a``, with its assets, and returns its path.

    Does not build the pages of the two runs. Raises as :func:`build` does.
    """
    runs = source.runs()
    before, after = _known({run.run_id: run for run in runs}, [a, b])
    site, place = Site(folder), comparison_place(a, b)
    pages = {path.parent.name for path in folder.glob("comparisons/*/index.html")} | {Path(place).parent.name}
    made_from = digest(before.stamp, after.stamp, repr([sorted(pages), [run.run_id for run in runs]]))
    if not site.is_fresh(place, made_from):
        compared = source.compared(a, b)
        site.write_beside(place, COMPARISON_CSV, comparison_csv(compared.metrics))
        site.write_page(place, comparison_page(before, after, compared, runs, pages), made_from)
    return folder / place


def page_of(folder: Path, run: RunSummary) -> Path:
    """Returns the page to open for a run: for a night its verdicts, otherwise its measurements."""
    return folder / (night_place if run.purpose == "nightly" else run_place)(run.run_id)


def _known(known: dict[str, RunSummary], wanted: Sequence[str]) -> list[RunSummary]:
    for run_id in wanted:
        if run_id not in known:
            raise UnknownRun(run_id, known)
    return [known[run_id] for run_id in wanted]


def _expected(source: ReportSource, wanted: Sequence[RunSummary], run_ids: Sequence[str | None]) -> set[str]:
    """Returns the paths of all pages that a build writes."""
    places = {index_file(1)} | {run_place(run.run_id) for run in wanted}
    places |= {night_place(run.run_id) for run in wanted if run.purpose == "nightly"}
    return places.union(*(subject_places(source, run_id) for run_id in run_ids))


def _write_run(source: ReportSource, site: Site, run: RunSummary) -> None:
    place, made_from = run_place(run.run_id), digest(run.stamp)
    if site.is_fresh(place, made_from):
        return
    contents = source.run(run.run_id)
    found = in_page_order(contents.measurements)
    path = site.folder / place
    with downloads.trace_files(run.run_id, path.parent) as rows:
        lines = gather(source, found, rows)
    write_text(path.parent / downloads.DOCUMENT, downloads.document_text(contents.document))
    write_text(path.parent / downloads.MEASUREMENTS, downloads.measurements_text(run.run_id, found))
    page = run_page(run.run_id, contents, found, lines, night_place(run.run_id) if run.purpose == "nightly" else "")
    # The page is written last, so that its data is there when it appears.
    site.write_page(place, page, made_from)


def _write_index(
    source: ReportSource, site: Site, runs: Sequence[RunSummary], groups: Sequence[TrainingGroupSummary]
) -> None:
    recent = source.recent()
    findings = recent.nights[-1].findings if recent.nights else []
    pages = index_pages(runs, source.devices(), source.workloads(), site.built, groups, findings, recent)
    for number, page in enumerate(pages, 1):
        site.write_page(index_file(number), page)
