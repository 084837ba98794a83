"""`suite run` on this machine: the real runner, the real store, the real report."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from tests.support.end_to_end.run_document import RunDocument
from tests.support.end_to_end.suite_runs import OTHER_SEED, RUN, SETTINGS, SHAPE, Bench, by_setting

QUICK = (*RUN, "--quick")


def test_a_run_gives_the_document_of_the_contract_and_a_report_with_its_numbers(bench: Bench) -> None:
    ran = bench(*QUICK, "--json")
    assert ran.code == 0, ran.err
    TypeAdapter(RunDocument).validate_python(ran.document, strict=True)
    found = by_setting(ran.document)
    assert set(found) == set(SETTINGS)
    for setting, item in found.items():
        assert item["status"] == "ok", item["reason"]
        assert item["workload"] | {"q": 2, "b": 2, "T": 32, "quant": setting} == item["workload"]
        assert item["latency_ms"]["median"] > 0
        assert item["latency_ms"]["ci95"]["unavailable"]
        assert item["loss"]["reference_steps"] == 3
        assert 0 < item["loss"]["noise"] < item["loss"]["difference"]
        assert ("arithmetic" in item) == (setting == "fp16")
    assert found["nf4"]["weight_bytes"] < found["int8"]["weight_bytes"] < found["fp16"]["weight_bytes"]
    assert found["fp32"]["ratio_to_reference"]["latency"]["ratio"] == 1.0
    page = Path(ran.document["report"]).read_text()
    assert ran.document["run_id"] in page
    assert all(setting in page for setting in SETTINGS)
    data = json.loads(next(Path(ran.document["report"]).parent.glob("*.json")).read_text())
    assert found["nf4"]["latency_ms"]["median"] in list(_numbers(data))


def test_the_second_run_exports_nothing_and_pushes_nothing(bench: Bench) -> None:
    first = bench(*QUICK)
    assert "pushed" in first.err
    assert "nothing pushed" not in first.err
    second = bench(*QUICK)
    assert second.code == 0
    assert "nothing exported" in second.err
    assert "nothing pushed" in second.err
    assert "building" not in second.err


def test_fp16s_losses_are_computed_before_this_machine_is_measured(bench: Bench) -> None:
    ran = bench(*QUICK, "--quant", "fp16", "--seed", "12")
    assert ran.code == 0, ran.err
    notes = ran.err.splitlines()
    (losses,) = (number for number, note in enumerate(notes) if "computing the reference losses of tiny fp16" in note)
    assert losses < min(number for number, note in enumerate(notes) if note.startswith("local: "))
    assert " with " not in notes[losses]  # said of losses that had waited for the device


def test_a_table_in_a_pipe_is_not_wrapped_and_has_no_debris(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    ran = bench(*QUICK, "--quant", "fp32,nf4")
    lines = ran.out.splitlines()
    rows = [line.split()[:2] for line in lines if line.split()[:1] == ["local"]]
    assert rows[:2] == [["local", "fp32"], ["local", "nf4"]]
    assert lines[-1].startswith("report: ")
    assert all(line == line.rstrip() and line for line in lines)
    assert "\x1b" not in ran.out + ran.err
    assert all(line.strip() for line in ran.err.splitlines())


def test_sessions_are_interleaved_back_and_forth(bench: Bench) -> None:
    assert bench(*RUN, "--quant", "fp32,nf4", "--sessions", "3", "--steps", "3").code == 0
    order = [(setting, ordinal) for setting, ordinal, _, _ in bench.sessions()]
    assert order == [("fp32", 0), ("nf4", 0), ("nf4", 1), ("fp32", 1), ("fp32", 2), ("nf4", 2)]


def test_the_same_seed_gives_the_same_losses_and_another_seed_others(bench: Bench) -> None:
    def losses(*more: str) -> Any:
        run_id = bench(*QUICK, "--quant", "fp32", "--json", *more).document["run_id"]
        (log,) = (bench.home / "runs" / run_id).glob("*.jsonl")
        events = [json.loads(line) for line in log.read_text().splitlines()]
        # Two steps of warm-up and three measured ones are there in any case; how many more depends on the machine.
        return [event["losses"] for event in events if event["event"] == "step"][:5]

    first = losses()
    assert losses() == first
    assert losses("--seed", str(OTHER_SEED)) != first


def test_job_and_inputs_of_each_session_stay_beside_its_raw_output(bench: Bench) -> None:
    """As the device got them, so that a session can be repeated; those on the same batches share one file."""
    run_id = bench(*QUICK, "--quant", "fp32,nf4", "--json").document["run_id"]
    folder = bench.home / "runs" / run_id
    jobs = [json.loads(path.read_text()) for path in sorted(folder.glob("*.job.json"))]
    assert sorted(job["session"] for job in jobs) == sorted(path.stem for path in folder.glob("*.jsonl"))
    (inputs,) = folder.glob("*.bin")
    assert hashlib.sha256(inputs.read_bytes()).hexdigest().startswith(inputs.stem.removeprefix("inputs-"))
    for job in jobs:
        arrays = [entry for entry in job["inputs"] if "file" in entry]
        assert {entry["file"] for entry in arrays} == {inputs.name}
        size = sum(8 * entry["batches"] * math.prod(entry["shape"]) for entry in arrays)
        assert size == inputs.stat().st_size


def test_after_a_run_the_other_commands_find_it(bench: Bench, tmp_path: Path) -> None:
    assert bench("history").sentence.startswith("suite: There is no history yet")
    run_id = bench(*QUICK, "--quant", "fp32", "--json").document["run_id"]
    assert run_id in bench("history", "--runs").out
    (series,) = (line.split()[0] for line in bench("history").out.splitlines() if "latency_ms" in line)
    assert run_id in bench("history", series).out
    assert "did you mean" in bench("history", series + "x").sentence
    index = Path(bench("report").out.strip())
    assert run_id in index.read_text()
    page = Path(bench("report", run_id, "--out", str(tmp_path / "site")).out.strip())
    assert page.is_relative_to(tmp_path / "site")
    assert bench("report", "2026-01-01T00-00-00-0000").code == 2
    checked = bench("devices", "check", "--json")
    assert (checked.code, checked.document[0]["usable"]) == (0, True)


def test_programs_can_be_exported_without_measuring(bench: Bench) -> None:
    ran = bench("export", "--model", "tiny", "-T", "32", "-b", "2", "-q", "2", "--json")
    assert [item["workload"]["quant"] for item in ran.document] == list(SETTINGS)
    assert all(Path(item["path"]).is_file() for item in ran.document)


def test_the_cost_of_the_sampler_is_measured_by_sessions_with_it_and_without(bench: Bench) -> None:
    more = ("--sessions", "3", "--steps", "3", "--json")
    ran = bench("check", "--overhead", *SHAPE, "--quant", "fp32", *more)
    assert ran.code == 0, ran.err
    assert len(ran.document["with_sampler_ms"]) == len(ran.document["without_sampler_ms"]) == 3
    assert ran.document["ci95_percent"] is not None
    assert [line for line in ran.err.splitlines() if "sampler" in line][:2] == [
        line for line in ran.err.splitlines() if "1/3" in line
    ]


def test_projected_gradients_are_compared_with_the_exact_derivative(bench: Bench) -> None:
    more = ("--quant", "fp32,nf4", "--eps", "1e-2,1e-3", "--perturbations", "12", "--json")
    ran = bench("check", "--gradient", *SHAPE, *more)
    assert ran.code == 0, ran.err
    found = {(one["quant"], one["eps"]): one for one in ran.document}
    assert set(found) == {("fp32", 1e-2), ("fp32", 1e-3), ("nf4", 1e-2), ("nf4", 1e-3)}
    assert all(one["perturbations"] >= 12 and one["own_correlation"] > 0.99 for one in ran.document)
    assert found["nf4", 1e-3]["correlation"] < 0.99 < found["fp32", 1e-3]["correlation"]


def test_projected_gradients_of_a_trained_adapter_are_compared_with_its_own_derivative(
    bench: Bench, tmp_path: Path
) -> None:
    steps = ("--steps", "4", "--eval-every", "4", "--examples", "8", "--lr", "0.1")
    trained = bench("train", "--device", "local", *SHAPE, "--quant", "fp32", *steps, "--json")
    assert trained.code == 0, trained.err
    folder = tmp_path / "adapter"
    assert bench("adapters", "export", trained.document["trainings"][0]["training_id"], str(folder)).code == 0
    more = ("--quant", "fp32", "--eps", "1e-3", "--perturbations", "12", "--json")
    untrained, around = (bench("check", "--gradient", *SHAPE, *more, *of) for of in ((), ("--adapter", str(folder))))
    assert around.code == 0, around.err
    (before,), (after,) = untrained.document, around.document
    assert after["own_correlation"] > 0.999
    assert after["difference"] != pytest.approx(before["difference"], rel=0.01)


def _numbers(document: Any) -> Iterator[float]:
    """All numbers of a document, however deep."""
    if isinstance(document, dict):
        document = list(document.values())
    if isinstance(document, list):
        for item in document:
            yield from _numbers(item)
    elif isinstance(document, int | float):
        yield document
