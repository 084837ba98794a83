"""Files that the suite itself writes in a home or on devices: a good one of each, and the code that reads it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from devices.deployment.cache import Places, cached, mark_used
from devices.processes import ProcessEnd
from devices.transports.local.transport import LocalTransport
from foundation.errors import UserError
from foundation.text import harmless
from foundation.unavailable import Unavailable
from reports.model.profile import Profile, ProfileRow, SettingProfile
from reports.model.training import Evaluation, Segment
from suite import results
from suite.cli.main import run_command
from suite.energy.session_energy import session_energy
from suite.exchange.dump import export_tables
from suite.home import Home
from suite.planning.plan import Plan
from suite.profiling.kept import keep_profile
from suite.schedule.timetable import Started, read_record, write_record
from suite.sessions.collect import collect
from suite.sessions.validity import Expectation, judge
from suite.store.store import Store
from suite.store.trainings import Trainings
from suite.training.checkpoints import Checkpoints
from suite.training.plan import TrainingPlan
from tests.support.suite import recorded_session as recorded
from tests.support.suite.stored_run import HARDWARE, begin, finish
from workloads.export.artifact import ArtifactCache
from workloads.export.data_files import WEIGHTS, DataCache
from workloads.models.weights import file_sha256
from workloads.models.zoo import load_model
from workloads.workload import Workload, adapter_values, layout_of

_WORKLOAD = Workload("tiny", "fp32", q=2, b=2, T=32)
_TRAINING = "t1.local-fp32"
_SENSORS = {"VDD_IN": "power_mw"}
_RECIPE = {"of": "the campaign"}


def sentence_of(work: Callable[[], object]) -> int:
    """Does the work and returns 0; if it raises UserError, prints its sentence on standard error and returns 2."""
    try:
        work()
    except UserError as error:
        print(f"suite: {harmless(str(error))}", file=sys.stderr)  # as the command line prints one
        return 2
    return 0


def trained(folder: Path, device: str = "board", status: str = "interrupted") -> Path:
    """Makes a home with a training that made two steps; returns its state."""
    home = Home(folder / "home")
    plan = TrainingPlan(Plan(devices=(device,), model="tiny", quants=("fp32",), q=2, b=2, T=32), steps=4)
    store = Store.open(home.store_path)
    trainings = Trainings(store.database)
    trainings.begin_group("g1", [plan.document()], ["suite", "train"], {"torch": "2"})
    number = store.record_device(device, "local", False, HARDWARE)
    trainings.begin(_TRAINING, "g1", number, _WORKLOAD.document(), 7, plan.document())
    trainings.add_segment(_TRAINING, Segment(0, 1.0, 0.5, 12.0, 2048, ((0.5, 2.0), (0.5, 1.9)), None))
    trainings.add_evaluation(_TRAINING, Evaluation(2, 10, 0.5, 1.0, 0.1))
    trainings.finish(_TRAINING, status)
    store.close()
    values = adapter_values(layout_of(_WORKLOAD, load_model("tiny").config))
    state = {
        "adapter": np.zeros(values, np.float32),
        "projected_gradient": np.ones(2, np.float32),
        "pending_key": np.array([7, 1], np.int64),
    }
    path = Checkpoints(home.training_folder(_TRAINING)).place(2)
    path.write_bytes(save(state))
    return path


def trained_store(folder: Path) -> Path:
    """Makes such a home; returns its store."""
    trained(folder)
    return folder / "home" / "store.sqlite"


EXPORT = ("adapters", "export", _TRAINING, "exported")
TRAINING_COMMANDS: tuple[Sequence[str], ...] = (
    ("adapters", "list"), ("adapters", "list", "--json"), EXPORT, ("report",), ("gc", "--dry-run"), ("history",),
    ("train", "--resume"), ("data", "export", "all"),
)  # fmt: skip


def export_adapter(_path: Path) -> int:
    """Exports the adapter of the damaged state."""
    return run_command(EXPORT)


def tables(name: str, file_format: str) -> Callable[[Path], Path]:
    """Returns a function that exports a run's tables and returns the file of one."""

    def make(folder: Path) -> Path:
        begun = begin(folder / "home.sqlite", device="jetson")
        finish(begun, 100.0, 101.0)
        export_tables(begun.store, [begun.run_id], file_format, folder / "tables")
        begun.store.close()
        return folder / "tables" / f"{name}.{file_format}"

    return make


def read_tables(path: Path) -> int:
    """Reads all tables in the folder as data frames."""

    def read() -> None:
        with results.open(path.parent) as lab:
            for frame in (lab.measurements, lab.sessions, lab.steps, lab.samples, lab.verdicts):
                frame(since="2000-01-01")

    return sentence_of(read)


def output(folder: Path) -> Path:
    """Writes a runner's output."""
    lines = recorded.whole(*recorded.samples("VDD_IN", lambda t: 5000 + t, seconds=2))
    (folder / "session.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "session.jsonl"


def read_output(path: Path) -> int:
    """Derives the session's record, validity and energy from it."""
    record = collect("s", path.read_text(errors="replace").splitlines(), ProcessEnd(rc=0), _SENSORS)
    validity = judge(record, Expectation(measured_steps=5))
    print(record.sentence, validity.reason, *record.defects, *record.sensor_errors.items())
    session_energy(record, tuple(_SENSORS), {}, Unavailable("not measured"))
    return 0


def device_record(name: str) -> Callable[[Path], Path]:
    """Returns a function that makes a device's cache and returns its record `name`."""

    def make(folder: Path) -> Path:
        places = Places(str(folder / "device"))
        for place in (places.artifact("a" * 32), places.runner("b" * 32)):
            Path(place).mkdir(parents=True)
            record = {"sha256": "0" * 64, "size_bytes": 7, "stamp": "1:2"}
            document = {"schema": 1, "files": {"program.pte": record}}
            (Path(place) / ".deployed.json").write_text(json.dumps(document))
        mark_used(LocalTransport(), places, ["artifacts/" + "a" * 32], datetime(2026, 1, 1, tzinfo=UTC))
        return next(Path(places.workdir).rglob(name))

    return make


def read_device(path: Path) -> int:
    """Lists the cache and marks something as used."""
    root = next(parent for parent in path.parents if parent.name == "device")
    places, transport = Places(str(root)), LocalTransport()

    def work() -> None:
        print(*cached(transport, places))
        mark_used(transport, places, ["runner/" + "b" * 32], datetime(2026, 1, 2, tzinfo=UTC))

    return sentence_of(work)


def night_record(folder: Path) -> Path:
    """Writes the record of the last scheduled night."""
    home = Home(folder / "home")
    at = datetime(2026, 1, 1, 2, 30, tzinfo=UTC)
    write_record(home, Started(at, at, 3, "night.log"))
    (path,) = home.logs.glob("*.json")
    return path


def read_night(path: Path) -> int:
    """Reads the record."""
    found = read_record(Home(path.parents[1]))
    print(found, None if found is None else found.meaning)
    return 0


def _write_data(path: Path) -> dict[str, dict[str, Any]]:
    path.write_bytes(b"weights")
    return {"layers.0.1": {"key": "k", "sha256": "0" * 64, "dtype": "float32", "shape": [2], "offset": 8}}


def catalog(folder: Path) -> Path:
    """Makes a data file; returns the list of constants beside it."""
    cache = DataCache(folder / "home" / "artifacts" / "weights")
    file, _ = cache.make(WEIGHTS, _RECIPE, _write_data)
    (path,) = file.folder.glob("constants-*.json")
    return path


def profile(folder: Path) -> Path:
    """Writes a profile."""
    home, name = Home(folder / "home"), "2026-11-30T05-00-00-abcd"
    row = ProfileRow("norm", "", "Add (ND)", "delegate", 0, 2, 1.0, 1e3, 1e3)
    setting = SettingProfile({"model": "tiny", "quant": "fp32"}, "aa", 2, (1.0, 1.1), (1.2, 1.0), 2, (row,))
    return keep_profile(Profile(name, "2026-11-30T05:00:00+00:00", "local", "local", False, {}, (setting,), {}), home)


def read_catalog(path: Path) -> int:
    """Takes the data file from the cache, or remakes it."""
    root = next(parent for parent in path.parents if parent.name == "weights")
    file, constants = DataCache(root).make(WEIGHTS, _RECIPE, _write_data)
    print(file.path.name, *constants)
    return 0


def program_document(folder: Path) -> Path:
    """Makes a program with a data file, under the hash of its workload; returns its artifact.json."""
    data = catalog(folder).parent
    cache = ArtifactCache(folder / "home" / "artifacts")
    made = cache.root / cache.hash_of(_WORKLOAD, "weights")
    made.mkdir(parents=True)
    (made / "program.pte").write_bytes(b"program")
    file = {"name": "program.pte", "sha256": file_sha256(made / "program.pte"), "bytes": 7}
    weights = {"name": WEIGHTS, "sha256": file_sha256(data / WEIGHTS), "bytes": 7}
    document = {
        "schema": 2, "hash": made.name, "workload": _WORKLOAD.document(), "files": [file], "program_bytes": 7,
        "weight_bytes": 4, "data": [weights], "adapter_values": 3,
    }  # fmt: skip
    (made / "artifact.json").write_text(json.dumps(document))
    return made / "artifact.json"


def find_program(path: Path) -> int:
    """Looks for the program; a folder beside the cache must survive, whatever the document says."""
    cache = ArtifactCache(path.parents[1])
    beside = cache.root.parent / "kept"
    beside.mkdir()
    found = cache.find(_WORKLOAD, "weights", print)
    if found is not None:
        print(found.program_bytes, [file.path.name for file in found.data])
    return 0 if beside.is_dir() and cache.root.is_dir() else 3
