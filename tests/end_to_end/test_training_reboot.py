"""A training whose device reboots in the middle and loses all files of the suite goes on with --resume."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML
from safetensors.numpy import load_file

from tests.support.end_to_end.suite_runs import SHAPE, Bench
from tests.support.end_to_end.twin_runs import FAULT_TIMEOUT_S, be_impatient, runners_in
from tests.support.twins.twin_devices import Twin, make_twin

pytestmark = pytest.mark.twins

STEPS, EVERY = 600, 300
TRAIN = (
    *("train", "--device", "board", *SHAPE, "--quant", "nf4", "--lr", "1e-2", "--examples", "24", "--json"),
    *("--steps", str(STEPS), "--eval-every", str(EVERY), "--checkpoint-every", str(EVERY)),
)


@pytest.fixture
def twin(host_bundle: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Twin]:
    del host_bundle
    be_impatient(monkeypatch)
    with make_twin("ssh", tmp_path / "twin", emulated=False) as running:
        for name, value in running.environ.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def bench(bench: Bench, shared: Path, twin: Twin) -> Bench:
    """A home that has the evaluating program, too; its inventory has the twin, without a power sensor."""
    shutil.copytree(shared / "evaluation", bench.home / "artifacts", dirs_exist_ok=True)
    entry = twin.entry(connect_timeout_s=30, threads=1, kind="linux")
    YAML().dump({"devices": {"board": entry}}, bench.folder / "inventory.yaml")
    return bench


def outcome(ran: Any) -> dict[str, Any]:
    assert "Traceback" not in ran.err
    (found,) = ran.document["trainings"]
    return dict(found)


def adapter(bench: Bench, training_id: str, name: str) -> dict[str, Any]:
    exported = bench("adapters", "export", training_id, str(bench.folder / name))
    assert exported.code == 0, exported.err
    tensors: dict[str, Any] = load_file(bench.folder / name / "adapter_model.safetensors")
    return tensors


def steps_made(bench: Bench, first: int, known: set[Path]) -> int:
    """Returns how many steps from `first` on were printed by a training that is not among the known ones."""
    logs = [log for log in bench.home.glob(f"trainings/*/step-{first:09d}.jsonl") if log.parent not in known]
    return sum(log.read_text().count('"event":"step"') for log in logs)


def test_a_reboot_that_leaves_nothing_on_the_device_costs_a_training_the_steps_since_its_last_state(
    bench: Bench, twin: Twin
) -> None:
    workdir, boot_id = twin.workdir / "edge-training-suite", twin.root / "run/boot_id"
    plain = outcome(bench(*TRAIN))
    assert plain["status"] == "finished"
    before, lost, known = boot_id.read_text(), list[Any](), set((bench.home / "trainings").iterdir())

    def lose_power() -> None:
        end_s = time.monotonic() + FAULT_TIMEOUT_S
        while steps_made(bench, EVERY, known) < EVERY // 10:
            if time.monotonic() > end_s:
                return
            time.sleep(0.005)
        twin.stop()
        lost.append(json.loads((workdir / "runner.pid").read_text()))
        shutil.rmtree(workdir)

    thread = threading.Thread(target=lose_power)
    thread.start()
    ran = bench(*TRAIN)
    thread.join()
    assert lost and lost[0]["boot_id"] == before.strip()
    broken = outcome(ran)
    assert (ran.code, broken["status"], broken["steps"]) == (4, "failed", EVERY), ran.err
    twin.start()
    assert boot_id.read_text() != before
    resumed = bench("train", "--resume", "--json")
    assert resumed.code == 0, resumed.err
    found = outcome(resumed)
    assert (found["training_id"], found["status"], found["steps"]) == (broken["training_id"], "finished", STEPS)
    assert "ended the runner" not in resumed.err
    losses = [[point["loss"] for point in one["evaluations"]] for one in (found, plain)]
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == 3
    adapters = [adapter(bench, one["training_id"], name) for one, name in ((found, "found"), (plain, "plain"))]
    assert all(np.array_equal(adapters[0][name], value) for name, value in adapters[1].items())
    assert not runners_in(twin)
