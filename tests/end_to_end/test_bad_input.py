"""Bad input through the command line: one sentence with cause and next action, exit code 2, nothing done."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devices.access import connect
from devices.kinds.kind import LinuxKind
from foundation.errors import UserError
from tests.support.end_to_end.suite_runs import RUN, SHAPE, Bench
from tests.support.workloads.model_folder import write_folder
from workloads.models.zoo import load_model, random_weights

REFUSED = [
    (("run",), "No device is named: add --device with one or more of local"),
    (("run", "--device", "loacl"), "no device 'loacl'.*did you mean local"),
    (("run", "--device", "local", "--model", "smollm-135m"), "Unknown model 'smollm-135m': did you mean smollm2-135m"),
    ((*RUN, "--quant", "fp23"), "'fp23': did you mean fp32"),
    ((*RUN, "--quant", ""), "No quantization setting is named: choose from fp32"),
    ((*RUN, "--quant", "nf4,nf4"), "nf4 is named 2 times"),
    ((*RUN, "--method", "pgre"), "Unknown method 'pgre': did you mean prge"),
    ((*RUN, "--method", "mezo-lora-fa"), "mezo-lora-fa has 1 query a step, but q is 2: leave -q out"),
    ((*RUN, "--total", "16"), "--total stands for q [*] b, but -q is given too: leave out one of them"),
    (("run", "--device", "local", "--total", "0"), "total is 0, but it must be at least 1"),
    ((*RUN, "--outer", "maybe"), "'maybe' is not one of 'on', 'off'"),
    ((*RUN, "--noise", "kernels"), "Unknown noise 'kernels': did you mean kernel"),
    ((*RUN, "-T", "0"), "T is 0, but it must be at least 1"),
    ((*RUN, "-q", "0"), "q is 0, but it must be at least 1"),
    ((*RUN, "-b", "-1"), "b is -1, but it must be at least 1"),
    ((*RUN, "--rank", "0"), "rank is 0, but it must be at least 1"),
    ((*RUN, "--steps", "-5"), "steps is -5, but it must be at least 1"),
    ((*RUN, "--sessions", "0"), "sessions is 0, but it must be at least 1"),
    ((*RUN, "--eps", "0"), "eps is 0, but it must be a positive number"),
    ((*RUN, "--lr", "nan"), "lr is nan, but it must be a positive number"),
    ((*RUN, "--seed", "-1"), "seed is -1, but it must be between 0 and"),
    ((*RUN, "-q", "99999999"), "q is above 65536, the largest allowed value: give a smaller number"),
    ((*RUN, "-b", "9" * 400), "b is above 1048576, the largest allowed value"),
    ((*RUN, "--rank", "65"), "rank is 65, but tiny has 64 hidden features, .*: choose a rank up to 64"),
    ((*RUN, "--steps", "1000000000000"), "steps is above 1000000000, the largest allowed value"),
    ((*RUN, "--sessions", "1000000"), "sessions is above 10000, the largest allowed value"),
    ((*RUN, "--eps", "1e-45"), "eps is 1e-45, but programs compute in float32"),
    ((*RUN, "--lr", "1e39"), r"lr is 1e\+39, but programs compute in float32"),
    ((*RUN, "--alpha", "inf"), "alpha is inf, but programs compute in float32"),
    ((*RUN, "--targets", "q_proj,v_proj,q_proj"), "The target module q_proj is named 2 times: name each once"),
    ((*RUN, "-T", "513"), "T is 513, but tiny has 512 positions: choose a T up to 512"),
    ((*RUN, "-T", "2"), "T is 2, but the prompt .* need .* tokens"),
    ((*RUN, "-q", "65536"), r"would call its layers \d+ times in a step, but 10000 is the most.*: lower q"),
    ((*RUN, "-b", "1048576"), r"needs about \d+\.\d GB of memory on the device, but this machine has"),
    ((*RUN, "--noise", "stock", "--quant", "nf4"), "nf4 needs the runner's kernel"),
    ((*RUN, "--threads", "4"), "No such option '--threads': .* set `threads: 2` in its entry of inventory.yaml"),
    (("export", "--batch=4"), "No such option '--batch': the rows of a batch are -b"),
    ((*RUN, "--devise", "x"), "No such option '--devise'.*--device"),
    ((*RUN, "-q", "four"), "'four' is not a valid integer"),
    (("rnu",), "No such command 'rnu'. Did you mean 'run'"),
    ((*RUN, "--task", "nowhere.tsv"), r"nowhere.tsv can't be read \(No such file"),
    ((*RUN, "--task", "nowhere.tsv", "--dry-run"), r"nowhere.tsv can't be read \(No such file"),
    (("run", "--device", "local", "--task", "nowhere.tsv", "--dry-run"), r"nowhere.tsv can't be read"),
    ((*RUN, "--weights", "nowhere"), "nowhere does not exist: give a Hugging Face folder or a GGUF file"),
    ((*RUN, "--weights", "nowhere", "--dry-run"), "nowhere does not exist: give a Hugging Face folder or a GGUF file"),
    ((*RUN, "--task", "f" * 300, "--dry-run"), r"File name too long, error 36\): no file can have this path"),
    ((*RUN, "--weights", "f" * 300, "--dry-run"), r"File name too long, error 36\): no file can have this path"),
    ((*RUN, "-T", "2", "--task", "a.tsv", "--dry-run"), "T is 2, but the prompt .* need .* tokens"),
    (("run", "--resume"), "There is no interrupted run to resume: start one"),
    (("run", "--resume", "--steps", "5"), "leave out --steps"),
    (("check",), "One check at a time: give either --overhead or --gradient"),
    (("report",), "There is nothing to report yet"),
    (("devices", "check", "pi"), "no device 'pi'"),
    (("run", "--device", "jetson"), "add it with `suite devices add jetson --kind jetson --host HOST`"),
    (("devices", "add", "jetson", "--kind", "jetson"), "needs a `host`"),
    (("devices", "add", "local", "--kind", "local"), "has a device 'local' already"),
    (("devices", "add", "nano", "--kind", "jetsno", "--host", "h"), "did you mean `jetson`"),
]


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_bad_usage_is_refused_with_one_sentence(empty_bench: Bench, arguments: tuple[str, ...], sentence: str) -> None:
    (empty_bench.folder / "a.tsv").write_text("fine\t1\ndull\t0\n")
    ran = empty_bench(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.sentence.startswith("suite: ")
    assert _found(sentence, ran.sentence), ran.sentence
    assert not (empty_bench.home / "artifacts").exists() or not list(empty_bench.home.glob("artifacts/*/program.pte"))


def _found(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None


INVENTORIES = [
    ("devices:\n  local: {kind: local\n", "inventory.yaml:3.*"),
    ("devices:\n  a:\n    kind: local\n  a:\n    kind: local\n", "inventory.yaml:4.*a"),
    ("devices:\n  a:\n    kind: lokal\n", "inventory.yaml:3.*kind"),
    (
        "devices:\n  a:\n    kind: local\n    thread: 2\n",
        "inventory.yaml:4: unknown key 'thread'; did you mean `threads`",
    ),
    ("", "inventory.yaml.*there is no device"),
    (None, "inventory.yaml.*"),
]


@pytest.mark.parametrize(("text", "sentence"), INVENTORIES)
def test_a_bad_inventory_is_named_with_its_line(empty_bench: Bench, text: str | None, sentence: str) -> None:
    path = empty_bench.folder / "inventory.yaml"
    path.unlink()
    if text is not None:
        path.write_text(text)
    ran = empty_bench("run", "--device", "all")
    assert ran.code == 2
    assert _found(sentence, ran.sentence), ran.sentence


def test_a_device_kind_without_support_is_refused_before_anything_is_exported(
    empty_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "KINDS", {"local": LinuxKind})
    (empty_bench.folder / "inventory.yaml").write_text("devices:\n  nano: {kind: jetson, host: 192.0.2.1}\n")
    ran = empty_bench("run", "--device", "nano", *SHAPE)
    assert (ran.code, "jetson" in ran.sentence) == (2, True)
    assert not empty_bench.home.exists()


TASKS = [
    ("a.tsv", "good\t1\nbad", "line 2 has 1 columns instead of 2"),
    ("a.tsv", "sentence\nfine film", "has no labels, only one column"),
    ("a.tsv", "index\tsentence\n0\tfine film\n", "has no labels, only the columns index, sentence"),
    ("a.tsv", "fine film\t-1\ndull film\t-1\n", "has no labels in its 2 rows"),
    ("a.tsv", "fine film\t1\ndull film\t7\n", "unknown label in 1 of 2 rows, the first is '7' in line 2"),
    ("a.tsv", "", "has no examples"),
    ("a.jsonl", '{"text": "fine", "label": 1}\n{"text": "du', "line 2 is not JSON"),
    ("a.jsonl", '{"text": 5, "label": 1}\n', "text in line 1 should be text, not 5"),
    ("a.xlsx", "fine,1\n", "a task is a .tsv, .csv, .jsonl, .json or .parquet file"),
    ("a.jsonl", '{"question": "Who?", "text": "It is.", "label": 1}\n', r"sst2 does not use \(question\)"),
]


@pytest.mark.parametrize(("name", "text", "sentence"), TASKS)
def test_a_bad_task_is_refused_with_its_line(empty_bench: Bench, name: str, text: str, sentence: str) -> None:
    (empty_bench.folder / name).write_text(text)
    ran = empty_bench(*RUN, "--quick", "--task", name)
    assert ran.code == 2
    assert _found(sentence, ran.sentence), ran.sentence


def test_rows_that_are_too_long_are_counted_and_reported(bench: Bench) -> None:
    long, short = "very " * 60 + "good", "good"
    (bench.folder / "mixed.tsv").write_text(f"{long}\t1\n{short}\t1\n{long} again\t0\n")
    ran = bench(*RUN, "--quick", "--quant", "fp32", "--task", "mixed.tsv")
    assert ran.code == 0
    assert "2 of 3 rows of mixed are longer than T=32" in ran.err


@pytest.mark.parametrize("how", ["--quick", "--dry-run"])
def test_damaged_weights_are_refused(empty_bench: Bench, how: str) -> None:
    folder = empty_bench.folder / "weights"
    folder.mkdir()
    ran = empty_bench(*RUN, how, "--weights", "weights")
    assert (ran.code, "config.json" in ran.sentence) == (2, True)
    (folder / "config.json").write_text("{")
    assert empty_bench(*RUN, how, "--weights", "weights").code == 2
    truncated = empty_bench.folder / "model.gguf"
    truncated.write_bytes(b"GGUF\3\0\0\0")
    ran = empty_bench(*RUN, how, "--weights", "model.gguf")
    assert (ran.code, "model.gguf" in ran.sentence) == (2, True)


def test_a_dry_run_opens_weights_and_tokenizer_without_reading_the_weights_whole(
    empty_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = empty_bench.folder / "weights"
    write_folder(folder, load_model("tiny"))
    read: list[Path] = []
    monkeypatch.setattr("workloads.models.huggingface.file_sha256", lambda path: read.append(path))
    arguments = (*RUN, "--weights", str(folder), "--dry-run")
    assert empty_bench(*arguments).code == 0
    assert read == []
    (folder / "tokenizer.json").unlink()
    ran = empty_bench(*arguments)
    assert (ran.code, "tokenizer.json" in ran.sentence) == (2, True)
    write_folder(folder, random_weights("other", replace(load_model("tiny").config, layers=3)))
    assert "is not a tiny: it has layers 3 instead of 2" in empty_bench(*arguments).sentence


def test_a_download_with_another_hash_is_refused(empty_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(packaged: object, notify: object) -> Path:
        raise UserError("the file has sha256 00, not b1: fetch it again.")

    monkeypatch.setattr("workloads.models.zoo.fetch", refuse)
    ran = empty_bench("run", "--device", "local", "--quick")
    assert (ran.code, "sha256" in ran.sentence) == (2, True)


def test_debug_shows_the_traceback(empty_bench: Bench) -> None:
    with pytest.raises(UserError, match="tyni"):
        empty_bench("--debug", "run", "--device", "local", "--model", "tyni")


@pytest.fixture
def read_only_home(empty_bench: Bench) -> Iterator[Path]:
    """A home on a read-only file system, or a file in its place where mounting is not allowed."""
    home = empty_bench.home
    home.mkdir()
    mounted = (
        os.geteuid() == 0
        and subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(home)], check=False).returncode == 0
    )
    if not mounted:
        # Nobody, not even root, can make a folder below a file.
        home.rmdir()
        home.touch()
    yield home
    if mounted:
        subprocess.run(["umount", str(home)], check=True)


def test_a_home_that_cannot_be_written_is_refused(empty_bench: Bench, read_only_home: Path) -> None:
    ran = empty_bench(*RUN, "--quick")
    assert ran.code in (1, 2)
    assert str(read_only_home) in ran.sentence
    assert "SUITE_HOME" in ran.sentence or "is writable" in ran.sentence


def test_a_damaged_store_is_refused_before_anything_is_exported(empty_bench: Bench) -> None:
    empty_bench.home.mkdir()
    (empty_bench.home / "store.sqlite").write_bytes(b"this is no database" * 100)
    for command in ((*RUN, "--quick"), ("history",), ("report",), ("run", "--resume")):
        ran = empty_bench(*command)
        assert (ran.code, "damaged or not an SQLite file" in ran.sentence) == (1, True), command
    assert not (empty_bench.home / "artifacts").exists()


def test_a_dry_run_estimates_time_memory_and_disk_and_does_nothing(empty_bench: Bench) -> None:
    ran = empty_bench(*RUN, "--dry-run", "--sessions", "5")
    assert ran.code == 0
    assert "20 sessions of 10 measured steps, interleaved over fp32, fp16, int8, nf4" in ran.out
    assert "to measure it: suite run --device local --model tiny -T 32 -b 2 -q 2 --sessions 5" in ran.out
    document = json.loads(empty_bench(*RUN, "--dry-run", "--json").out)
    assert [item["quant"] for item in document["plans"][0]["forecast"]["settings"]] == ["fp32", "fp16", "int8", "nf4"]
    assert document["plans"][0]["forecast"]["device_disk_bytes"] > 0
    assert not empty_bench.home.exists()
