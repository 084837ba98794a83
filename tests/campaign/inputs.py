"""Every format of file that the suite reads: a good file of each, and the command that reads it."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import gguf
import numpy as np
import pyarrow
import pyarrow.parquet

from devices.deployment.built_runner import MANIFEST, kept_builds, read_built
from devices.processes import parse_record
from devices.transports.hold import busy, this_process
from suite.cli.main import cli, run_command
from suite.exchange.dump import export_documents
from suite.planning.plan import Plan
from suite.preparing.preparation import load_inputs
from tests.campaign import own_files
from tests.support.suite.stored_run import begin, finish
from tests.support.workloads.gguf_files import add_shape, add_tokenizer, gguf_name, permuted
from tests.support.workloads.gguf_files import finish as write_gguf
from tests.support.workloads.model_folder import write_folder
from workloads.export.artifact import ArtifactCache
from workloads.export.peft_folder import read_peft_folder, write_peft_folder
from workloads.models.config import LlamaConfig
from workloads.models.weights import ModelWeights
from workloads.models.zoo import load_model, random_weights
from workloads.workload import Workload, adapter_values, layout_of

READS = frozenset({0, 2})
"""Exit codes of a command that reads a file from outside: accepted, or refused."""
STORE = frozenset({0, 1, 2, 4})

_INVENTORY = """\
devices:
  local: {kind: local, threads: 2, cpus: 0-1}
  jetson: {kind: jetson, host: user@10.0.0.7, port: 2222, workdir: /tmp/suite, key_file: ~/.ssh/id}
  phone: {kind: android, serial: R5CT10ABCDE, cache_limit_mb: 2000, power: {scale: 2}}
"""
_PLAN = """\
budget_minutes: 45
defaults: {sessions: 5, steps: 10}
plans:
  tiny:
    devices: [local]
    models: [tiny]
    quants: [fp32, nf4]
    shapes: [{q: 4, b: 4, T: 64}, {q: 1, b: 2, T: 32}]
    task: rows.tsv
"""
_TEMPLATE = """\
about: Which topic does a headline have?
fields:
  text: [headline, title]
label: [topic]
labels: {"0": sport, "1": money}
prompt: "{text} Topic:"
candidates: {sport: " sport", money: " money"}
"""
_WORDS = ("good", "bad", "fine", "dull", "great", "poor")
_ROWS = [(f"A {word} film", str(index % 2)) for index, word in enumerate(_WORDS)]
_SHAPE = ("-T", "32", "-b", "2", "-q", "2", "--quant", "fp32")
_WORKLOAD = Workload("tiny", "fp32", q=1, b=2, T=16, rank=4, alpha=8.0, targets=("q_proj", "v_proj"))


@dataclass(frozen=True)
class Format:
    """A format: `make` writes good files into a folder and returns the one to damage; `read` reads it and returns the
    exit code, which must be one of `codes`."""

    make: Callable[[Path], Path]
    read: Callable[[Path], int]
    codes: frozenset[int] = READS


def _command(*words: str) -> Callable[[Path], int]:
    """Returns a function that runs the command, with the file in place of FILE and its folder in place of FOLDER."""

    def read(path: Path) -> int:
        given = {"FILE": str(path), "FOLDER": str(path.parent)}
        return run_command([given.get(word, word) for word in words])

    return read


def _first_failure(*commands: Sequence[str]) -> Callable[[Path], int]:
    """Returns a function that runs commands in turn; the code is that of the first that fails."""

    def read(_path: Path) -> int:
        codes = [run_command(words) for words in commands]
        return next((code for code in codes if code), 0)

    return read


def _text(name: str, text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text(text)
        return folder / name

    return make


def _plan(folder: Path) -> Path:
    (folder / "rows.tsv").write_text("sentence\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in _ROWS))
    (folder / "nightly.yaml").write_text(_PLAN)
    return folder / "nightly.yaml"


def _parquet(folder: Path) -> Path:
    table = pyarrow.table({"sentence": [text for text, _ in _ROWS], "label": [int(label) for _, label in _ROWS]})
    pyarrow.parquet.write_table(table, folder / "rows.parquet")
    return folder / "rows.parquet"


def _template(folder: Path) -> Path:
    rows = [json.dumps({"headline": text, "topic": int(label)}) for text, label in _ROWS]
    (folder / "rows.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "topics.yaml").write_text(_TEMPLATE)
    return folder / "topics.yaml"


def _model() -> ModelWeights:
    return random_weights("theirs", LlamaConfig(512, 32, 64, 1, 2, 1, 16, max_positions=64), seed=3)


def _gguf(folder: Path) -> Path:
    model = _model()
    writer = gguf.GGUFWriter(folder / "theirs.gguf", "llama")
    add_shape(writer, model.config)
    add_tokenizer(writer)
    for name, tensor in model.state.items():
        if not (model.config.tie_embeddings and name == "lm_head.weight"):
            writer.add_tensor(gguf_name(name), np.ascontiguousarray(permuted(name, tensor, model.config).numpy()))
    write_gguf(writer)
    return folder / "theirs.gguf"


def _of_folder(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write_folder(folder / "theirs", _model())
        return folder / "theirs" / name

    return make


def _adapter(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        config = load_model("tiny").config
        adapter = np.zeros(adapter_values(layout_of(_WORKLOAD, config)), np.float32)
        write_peft_folder(_WORKLOAD, config, adapter, "tiny", folder / "adapter")
        return folder / "adapter" / name

    return make


def _read_adapter(path: Path) -> int:
    return own_files.sentence_of(lambda: read_peft_folder(_WORKLOAD, load_model("tiny").config, path.parent))


def _home(folder: Path) -> Path:
    """Makes a home with two runs; returns its store."""
    home = folder / "home"
    home.mkdir()
    for purpose in ("run", "nightly"):
        begun = begin(home / "store.sqlite", purpose=purpose)
        finish(begun, 1.0, 2.0, 3.0)
        begun.store.close()
    return home / "store.sqlite"


def _exported(folder: Path) -> Path:
    begun = begin(folder / "theirs.sqlite", device="board")
    finish(begun, 1.0, 2.0, 3.0, device="board")
    (path,) = export_documents(begun.store, [begun.run_id], folder)
    begun.store.close()
    return path


def _journal(folder: Path) -> Path:
    store = _home(folder)
    (journal,) = store.parent.glob("journal/*/*.jsonl")
    for file in store.parent.glob("store.sqlite*"):
        file.unlink()
    return journal


def _artifact(folder: Path) -> Path:
    """Makes the artifact.json of a program; reading it needs only the program's size."""
    made = folder / "home" / "artifacts" / ("a" * 32) / "artifact.json"
    made.parent.mkdir(parents=True)
    (made.parent / "program.pte").write_bytes(b"program")
    document = {
        "schema": 1, "hash": "a" * 32, "workload": _WORKLOAD.document(), "program_sha256": "0" * 64, "program_bytes": 7,
        "weight_bytes": 4, "data": [{"name": "w.ptd", "sha256": "1" * 64, "bytes": 3}],
    }  # fmt: skip
    made.write_text(json.dumps(document))
    return made


def _read_artifact(path: Path) -> int:
    cache = ArtifactCache(path.parent.parent)
    cache.by_hash(path.parent.name)
    cache.data_of(path.parent.name)
    return run_command(["gc", "--dry-run"])


def _runner_manifest(folder: Path) -> Path:
    (folder / "runner").write_bytes(b"program")
    digest = hashlib.sha256(b"program").hexdigest()
    files = [{"name": "runner", "sha256": digest, "bytes": 7, "executable": True}]
    (folder / MANIFEST).write_text(json.dumps({"machine": "x86_64", "launch": ["runner"], "files": files}))
    return folder / MANIFEST


def _read_manifest(path: Path) -> int:
    list(kept_builds(path.parent.parent, {"machine": "x86_64"}))
    read_built(path.parent)
    return 0


def _held(folder: Path) -> Path:
    return _text("note.json", json.dumps(asdict(this_process("local"))))(folder)


def _read_held(path: Path) -> int:
    content = path.read_bytes()
    parse_record(content)
    print(busy("local", content.decode(errors="replace"), answered=True), file=sys.stderr)
    return 0


_TASK = ("run", "--dry-run", "--device", "local", "--model", "tiny", *_SHAPE, "--task", "FILE")
_MODEL_FILE = ("run", "--dry-run", "--device", "local", *_SHAPE, "--model", "FILE")
_MODEL_FOLDER = (*_MODEL_FILE[:-1], "FOLDER")
_DELIMITED = "sentence{0}label\n" + "".join(f"{text}{{0}}{label}\n" for text, label in _ROWS)
_OBJECTS = [{"sentence": text, "label": int(label)} for text, label in _ROWS]
_STORE_COMMANDS = (
    ("history",), ("data", "export", "all"), ("data", "export", "latest", "--format", "json"), ("report",), ("tag",),
    ("trace", "latest"), ("compare", "latest", "previous"), ("gc", "--dry-run"), ("run", "--resume"),
)  # fmt: skip

FORMATS: dict[str, Format] = {
    "inventory": Format(_text("theirs.yaml", _INVENTORY), _command("devices", "list", "--inventory", "FILE")),
    "plan": Format(_plan, _command("plan", "check", "FILE")),
    "plan of a run": Format(_plan, _command("run", "--dry-run", "--plan", "FILE")),
    "TSV": Format(_text("rows.tsv", _DELIMITED.format("\t")), _command(*_TASK)),
    "CSV": Format(_text("rows.csv", _DELIMITED.format(",")), _command(*_TASK)),
    "JSON": Format(_text("rows.json", json.dumps(_OBJECTS)), _command(*_TASK)),
    "JSON Lines": Format(_text("rows.jsonl", "\n".join(map(json.dumps, _OBJECTS)) + "\n"), _command(*_TASK)),
    "Parquet": Format(_parquet, _command(*_TASK)),
    "template": Format(_template, _command(*_TASK[:-1], "rows.jsonl", "--template", "FILE")),
    "GGUF": Format(_gguf, _command(*_MODEL_FILE)),
    "safetensors": Format(_of_folder("model.safetensors"), _command(*_MODEL_FOLDER)),
    "config.json": Format(_of_folder("config.json"), _command(*_MODEL_FOLDER)),
    "tokenizer.json": Format(_of_folder("tokenizer.json"), _command(*_MODEL_FOLDER)),
    "adapter_config.json": Format(_adapter("adapter_config.json"), _read_adapter),
    "adapter_model.safetensors": Format(_adapter("adapter_model.safetensors"), _read_adapter),
    "imported document": Format(_exported, _command("data", "import", "FILE", "--from", "bonn")),
    "exported measurements": Format(own_files.tables("measurements", "csv"), own_files.read_tables),
    "exported steps": Format(own_files.tables("steps", "csv"), own_files.read_tables),
    "exported Parquet": Format(own_files.tables("steps", "parquet"), own_files.read_tables),
    "artifact.json": Format(_artifact, _read_artifact, STORE),
    "program in the cache": Format(own_files.program_document, own_files.find_program),
    "catalog of a data file": Format(own_files.catalog, own_files.read_catalog),
    "state of a training": Format(own_files.trained, own_files.export_adapter),
    "store with a training": Format(own_files.trained_store, _first_failure(*own_files.TRAINING_COMMANDS), STORE),
    "output of the runner": Format(own_files.output, own_files.read_output),
    "uses on a device": Format(own_files.device_record("cache.json"), own_files.read_device),
    "manifest on a device": Format(own_files.device_record(".deployed.json"), own_files.read_device),
    "record of a night": Format(own_files.night_record, own_files.read_night),
    "manifest of a runner": Format(_runner_manifest, _read_manifest),
    "profile": Format(own_files.profile, _command("profile", "--show", "latest", "--json")),
    "note of a hold": Format(_held, _read_held),
    "store": Format(_home, _first_failure(*_STORE_COMMANDS), STORE),
    "store, rebuilt": Format(_home, _first_failure(("store", "rebuild"), ("history",)), STORE),
    "journal": Format(_journal, _first_failure(("store", "rebuild"), ("history",)), STORE),
}


def prepare(folder: Path, made: Format) -> Path:
    """Makes an empty folder with an inventory, and the format's good files in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "inventory.yaml").write_text("devices:\n  local:\n    kind: local\n")
    return made.make(folder)


def warm_up() -> None:
    """Loads once, for all tries, what the commands would load later."""
    for name in cli.commands:
        cli.get_command(click.Context(cli), name)
    load_inputs(replace(Plan(devices=(), model="tiny", q=2, b=2, T=32), quants=("fp32",)), lambda _line: None)
