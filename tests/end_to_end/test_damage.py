"""Full disks, truncated files, paths that are taken: named, and repaired where that is possible."""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.end_to_end.suite_runs import RUN, Bench, by_setting, wait_for_end

QUICK = (*RUN, "--quick", "--quant", "fp32,nf4")


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[bool]:
    """Mounts a tmpfs over `folder` where this process may; yields whether it did."""
    folder.mkdir(parents=True, exist_ok=True)
    argv = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = os.geteuid() == 0 and subprocess.run(argv, capture_output=True, check=False).returncode == 0
    try:
        yield done
    finally:
        if done:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_truncated_program_on_the_device_is_found_and_pushed_again(bench: Bench) -> None:
    assert bench(*QUICK).code == 0
    program = next((bench.workdir / "artifacts").glob("*/program.pte"))
    os.truncate(program, 1000)
    ran = bench(*QUICK)
    assert ran.code == 0
    assert "local: pushed 1 files" in ran.err


def test_a_changed_program_of_the_same_size_is_found_too(bench: Bench) -> None:
    assert bench(*QUICK).code == 0
    program = next((bench.workdir / "artifacts").glob("*/program.pte"))
    program.write_bytes(bytes(program.stat().st_size))
    ran = bench(*QUICK)
    assert ran.code == 0
    assert "local: pushed 1 files" in ran.err


def test_a_truncated_program_in_the_cache_is_exported_again(bench: Bench, shared: Path) -> None:
    whole = _artifact(shared, "fp32")
    damaged = bench.home / "artifacts" / whole.name / "program.pte"
    os.truncate(damaged, 1000)
    ran = bench(*RUN, "--quick", "--quant", "fp32")
    assert ran.code == 0
    assert "exporting tiny fp32 (1 of 1)" in ran.err
    assert damaged.stat().st_size == (whole / "program.pte").stat().st_size
    log = (bench.home / "artifacts" / "export.log").read_text()
    assert not any(line and line in ran.err for line in log.splitlines())


def test_measurements_are_printed_before_a_page_that_cannot_be_written(bench: Bench) -> None:
    reports = bench.home / "reports"
    shutil.rmtree(reports, ignore_errors=True)
    reports.write_text("in the way")
    ran = bench(*RUN, "--quick", "--quant", "nf4")
    assert ran.code == 2
    assert re.search(r"local +nf4 .* ok", ran.out)
    assert "report" not in ran.out and "reports cannot be created" in ran.err.splitlines()[-1]
    as_json = bench(*RUN, "--quick", "--quant", "nf4", "--json")
    document = json.loads(as_json.out)
    assert (as_json.code, document["measurements"][0]["status"]) == (2, "ok")
    assert "cannot be created" in document["report"]["unavailable"]
    assert bench.rows("SELECT DISTINCT status FROM run") == [("finished",)]
    reports.unlink()
    assert bench("report").code == 0
    assert list(reports.glob(f"**/*{document['run_id']}*"))


def test_a_program_damaged_in_the_cache_is_exported_again_with_one_note(bench: Bench, shared: Path) -> None:
    whole = _artifact(shared, "fp32")
    damaged = bench.home / "artifacts" / whole.name / "program.pte"
    damaged.write_bytes(bytes(damaged.stat().st_size))
    ran = bench(*QUICK)
    assert ran.code == 0
    assert ran.err.count("the program of tiny fp32 in the artifact cache is damaged: it is exported again") == 1
    assert "exporting tiny fp32 (1 of 1)" in ran.err
    assert damaged.read_bytes() == (whole / "program.pte").read_bytes()


def test_a_full_device_fails_with_the_room_it_needs_and_keeps_the_host_whole(bench: Bench) -> None:
    with mounted(bench.workdir, "size=8m") as tmpfs:
        if tmpfs:
            ran = bench(*QUICK, "--json")
        else:
            (bench.folder / "inventory.yaml").write_text("devices:\n  local: {kind: local, workdir: /dev/full}\n")
            ran = bench(*QUICK, "--json")
    assert ran.code == 4
    found = by_setting(ran.document)
    assert {item["status"] for item in found.values()} == {"failed"}
    assert "workdir" in found["nf4"]["reason"]
    assert bench(*QUICK).code == (0 if tmpfs else 4)


def test_a_full_disk_under_the_home_keeps_what_was_measured(bench: Bench) -> None:
    """The limit on file size stands in for the disk: the store cannot grow beyond its second session."""
    assert bench(*QUICK).code == 0
    size = (bench.home / "store.sqlite").stat().st_size
    limits = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size + 16384, size + 16384))  # noqa: E731
    with bench.start(*RUN, "--quant", "fp32", "--sessions", "3", "--steps", "3000", preexec_fn=limits) as process:
        _, err = wait_for_end(process)
    last = err.splitlines()[-1]
    assert process.returncode in (1, 2), err
    assert last.startswith("suite: "), err
    assert "Traceback" not in err
    assert str(bench.home) in last
    assert bench.rows("PRAGMA integrity_check") == [("ok",)]
    assert len([status for *_, status in bench.sessions() if status == "ok"]) >= 2
    assert bench(*QUICK).code == 0


def test_a_device_folder_that_cannot_be_written_is_a_result(bench: Bench) -> None:
    with mounted(bench.workdir, "ro") as tmpfs:
        if not tmpfs:
            shutil.rmtree(bench.workdir)
            bench.workdir.touch()
        ran = bench(*QUICK, "--json")
    assert ran.code == 4
    assert all("workdir" in item["reason"] for item in ran.document["measurements"])


def test_a_file_in_the_place_of_the_device_folder_is_a_result_and_the_next_run_works(bench: Bench) -> None:
    bench.workdir.parent.mkdir(parents=True)
    bench.workdir.touch()
    ran = bench(*QUICK, "--json")
    assert ran.code == 4
    assert all("move it away" in item["reason"] for item in ran.document["measurements"])
    bench.workdir.unlink()
    assert bench(*QUICK).code == 0


def test_one_bad_device_leaves_the_others_running(bench: Bench) -> None:
    (bench.folder / "inventory.yaml").write_text(
        "devices:\n  broken: {kind: local, workdir: /dev/null}\n  local: {kind: local}\n"
    )
    ran = bench("run", "--device", "broken,local", *RUN[3:], "--quick", "--quant", "fp32", "--json")
    assert ran.code == 4
    assert [(item["device"], item["status"]) for item in ran.document["measurements"]] == [
        ("broken", "failed"),
        ("local", "ok"),
    ]


def _artifact(home: Path, quant: str) -> Path:
    """The folder of the artifact that a setting trains with."""
    documents = {
        path.parent: json.loads(path.read_text())["workload"] for path in home.glob("artifacts/*/artifact.json")
    }
    return next(folder for folder, of in documents.items() if (of["quant"], of["method"]) == (quant, "prge"))


def test_a_program_that_the_runner_cannot_load_is_unsupported_and_the_others_go_on(bench: Bench) -> None:
    """The real runner meets a program of a newer suite: it names an operator that this runner does not have."""
    rename_operator(_artifact(bench.home, "nf4"), b"prge::perturb", b"prge::newperb")
    ran = bench(*RUN, "--quick", "--quant", "fp32,nf4", "--json")
    found = by_setting(ran.document)
    assert ran.code == 0, ran.err
    assert (found["fp32"]["status"], found["nf4"]["status"]) == ("ok", "unsupported")
    assert "0x14 OperatorMissing" in found["nf4"]["reason"]
    assert "prge::newperb" in found["nf4"]["reason"]
    assert found["nf4"]["latency_ms"]["unavailable"] == found["nf4"]["reason"]


def rename_operator(folder: Path, name: bytes, other: bytes) -> None:
    """Gives an operator of a program in the cache another name of the same length, and the program its new hash."""
    program, record = folder / "program.pte", folder / "artifact.json"
    content = program.read_bytes()
    assert name in content
    program.write_bytes(content.replace(name, other))
    document = json.loads(record.read_text())
    document["files"][0]["sha256"] = hashlib.sha256(program.read_bytes()).hexdigest()
    record.write_text(json.dumps(document))
