"""A package that adds one of each, used as its users do, without changes to the suite."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundation.plugins import plugins
from tests.support.end_to_end.suite_runs import SHAPE, Bench
from tests.support.plugins.install import install_example, make_plugin
from tests.support.workloads.model_folder import write_folder
from workloads.models.zoo import load_model

ROOT = Path(__file__).parents[2]
QUICK = ("--quant", "fp32", "--sessions", "1", "--steps", "3")


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_example(tmp_path_factory.mktemp("plugins") / "site")


@pytest.fixture
def with_plugins(bench: Bench, example: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """The example is installed, for this process and those that it starts."""
    monkeypatch.syspath_prepend(str(example))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(example), str(ROOT)]))
    plugins.cache_clear()
    yield bench
    plugins.cache_clear()


def board(bench: Bench, sensors: str = "") -> None:
    (bench.folder / "inventory.yaml").write_text(
        "devices:\n"
        "  local: {kind: local}\n"
        f"  board:\n    kind: acme-board\n    workdir: {bench.folder}/acme\n    options: {{model: Two}}\n{sensors}"
    )


def test_what_is_installed_is_listed_with_its_package(with_plugins: Bench) -> None:
    ran = with_plugins("plugins", "--json")
    assert ran.code == 0, ran.err
    assert {(one["what"], one["name"]) for one in ran.document["plugins"]} == {
        ("kind of device", "acme-board"),
        ("transport", "acme-link"),
        ("sensor", "acme-fan"),
        ("method", "acme-signs"),
        ("model family", "acme"),
        ("task", "acme-tickets"),
        ("reporter", "acme-lines"),
    }
    assert {(one["package"], one["version"], one["problem"]) for one in ran.document["plugins"]} == {
        ("acme-lab", "1.2.3", None)
    }
    assert "acme-lab 1.2.3" in with_plugins("plugins").out


def test_a_board_of_a_plugins_kind_is_measured_over_its_link_with_sensors_of_the_inventory(
    with_plugins: Bench,
) -> None:
    bench = with_plugins
    (bench.folder / "fan").write_text("2900\n")
    (bench.folder / "rail").write_text("millivolt: 5012\n")
    board(
        bench,
        "    sensors:\n"
        f"      fan: {{plugin: acme-fan, options: {{file: {bench.folder}/fan}}}}\n"
        f"      rail: {{file: {bench.folder}/rail, field: 'millivolt:', unit: V, scale: 0.001, every_s: 0.1}}\n"
        "      load: {command: [echo, '42'], unit: percent, every_s: 0.1}\n",
    )
    checked = bench("devices", "check", "board")
    assert checked.code == 0, checked.out
    assert "Acme Two" in checked.out
    assert "own_rpm: Acme's fan" in checked.out
    assert "own_V" in checked.out and "times 0.001, in V" in checked.out
    # Enough steps for sensors to be read meanwhile, however busy the machine is.
    ran = bench("run", "--device", "board", *SHAPE, *QUICK, "--steps", "5000", "--json")
    assert ran.code == 0, ran.err
    (measured,) = ran.document["measurements"]
    read = {one["name"]: one.get("readings") for one in measured["sensors"]}
    assert read["fan"] == {"low": 2900, "mean": 2900, "high": 2900}
    assert read["rail"]["mean"] == pytest.approx(5.012)
    assert read["load"]["mean"] == 42
    page = Path(ran.document["report"]).read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert "2900 rpm on average" in page
    assert "5.01 V on average" in page
    assert "fan over time" in page
    lines = bench("report", "latest", "--as", "acme-lines")
    assert (lines.code, lines.out) == (0, "board prge fp32 ok\n")


def test_a_plugins_method_is_measured_checked_against_the_reference_and_trained_with(with_plugins: Bench) -> None:
    ran = with_plugins("run", "--device", "local", *SHAPE, "--method", "acme-signs", *QUICK, "--json")
    assert ran.code == 0, ran.err
    (measured,) = ran.document["measurements"]
    assert (measured["workload"]["method"], measured["status"]) == ("acme-signs", "ok")
    assert measured["loss"]["max_relative_error"] < 1e-3
    assert measured["loss"]["lr"] == 2e-4
    trained = with_plugins(
        *("train", "--device", "local", *SHAPE, "--method", "acme-signs", "--task", "acme-tickets"),
        *("--quant", "fp32", "--examples", "8", "--steps", "2", "--json"),
    )
    assert trained.code == 0, trained.err
    (training,) = trained.document["trainings"]
    assert (training["status"], training["steps"]) == ("finished", 2)
    assert [point["examples"] for point in training["evaluations"]] == [8, 8]


def test_a_model_of_a_plugins_family_is_measured(with_plugins: Bench) -> None:
    folder = with_plugins.folder / "acme-tiny"
    weights = load_model("tiny", None, print)
    write_folder(folder, weights)
    _rename(folder)
    ran = with_plugins("run", "--device", "local", *SHAPE[2:], "--model", str(folder), *QUICK, "--json")
    assert ran.code == 0, ran.err
    (measured,) = ran.document["measurements"]
    assert (measured["workload"]["model"], measured["status"]) == ("acme-tiny", "ok")


def _rename(folder: Path) -> None:
    """Makes a Llama folder one of Acme's: its type, and the name of its second norm."""
    from safetensors.torch import load_file, save_file

    path = folder / "config.json"
    path.write_text(path.read_text().replace('"llama"', '"acme"'))
    tensors = load_file(folder / "model.safetensors")
    renamed = {name.replace("post_attention_layernorm", "norm_before_mlp"): one for name, one in tensors.items()}
    assert renamed.keys() != tensors.keys()
    save_file(renamed, folder / "model.safetensors")


def test_a_plan_names_a_plugins_method_and_task(with_plugins: Bench) -> None:
    plan = "plans:\n  tickets: {models: [tiny], methods: [acme-signs], quants: [fp32], task: acme-tickets}\n"
    path = with_plugins.folder / "nightly.yaml"
    path.write_text(plan)
    ran = with_plugins("plan", "check", "nightly.yaml")
    assert (ran.code, ran.err) == (0, "")
    path.write_text(plan.replace("acme-signs", "acme-sings"))
    refused = with_plugins("plan", "check", "nightly.yaml")
    assert refused.code == 2
    assert "Unknown method 'acme-sings': did you mean acme-signs" in refused.sentence


def test_what_a_removed_plugin_measured_stays_readable(with_plugins: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = with_plugins
    ran = bench("run", "--device", "local", *SHAPE, "--method", "acme-signs", *QUICK, "--json")
    assert ran.code == 0, ran.err
    monkeypatch.undo()
    monkeypatch.chdir(bench.folder)
    monkeypatch.setenv("SUITE_HOME", str(bench.home))
    plugins.cache_clear()
    for command in ("history", "report", "status", "gc --dry-run", "data export all"):
        assert bench(*command.split()).code == 0, command
    refused = bench("run", "--device", "local", *SHAPE, "--method", "acme-signs", *QUICK)
    assert refused.code == 2
    assert refused.sentence.startswith("suite: Unknown method 'acme-signs': ")


BROKEN = {
    "kinds acme-board": "broken_lab:KIND",
    "sensors acme-fan": "broken_lab:FAN",
    "methods acme-signs": "broken_lab:METHOD",
    "tasks acme-tickets": "broken_lab:TASK",
    "families acme": "broken_lab:FAMILY",
    "reporters acme-lines": "broken_lab:LINES",
    "transports ssh": "broken_lab:LINK",
}


@pytest.fixture
def with_broken(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    make_plugin(tmp_path / "broken", "broken-lab", BROKEN, code="raise RuntimeError('half installed')\n")
    monkeypatch.syspath_prepend(str(tmp_path / "broken"))
    plugins.cache_clear()
    yield bench
    plugins.cache_clear()


def test_commands_that_need_no_plugin_never_see_a_broken_one(with_broken: Bench) -> None:
    bench = with_broken
    board(bench)
    ran = bench("run", "--device", "local", *SHAPE, *QUICK, "--json")
    assert ran.code == 0, ran.err
    assert "broken" not in ran.err
    for command in ("status", "history", "report", "devices check local", "--help"):
        done = bench(*command.split())
        assert (done.code, "broken" in done.err + done.out.replace(str(bench.folder), "")) == (0, False), command


@pytest.mark.parametrize(
    "command",
    [
        f"run --device local {' '.join(SHAPE)} --method acme-signs",
        f"run --device local {' '.join(SHAPE)} --task acme-tickets --quant fp32",
        "report --as acme-lines",
        "devices check board",
        f"run --device board {' '.join(SHAPE)} --quant fp32",
    ],
)
def test_a_command_that_needs_a_broken_plugin_says_whose_it_is_and_what_to_do(with_broken: Bench, command: str) -> None:
    board(with_broken)
    if command.startswith("report"):
        assert with_broken("run", "--device", "local", *SHAPE, *QUICK).code == 0
    done = with_broken(*command.split())
    assert done.code != 0
    printed = done.out + done.err
    assert "of the plugin broken-lab 0.9 can't be used: broken_lab:" in printed
    assert "half installed" in printed and "pip uninstall broken-lab" in printed
    assert "Traceback" not in printed


def test_broken_plugins_are_listed_with_their_reasons(with_broken: Bench) -> None:
    ran = with_broken("plugins", "--json")
    assert ran.code == 2
    problems = {one["name"]: one["problem"] for one in ran.document["plugins"]}
    assert problems.keys() == {key.split()[1] for key in BROKEN}
    assert "the suite itself has one with this name" in problems["ssh"]
    assert all("broken-lab 0.9" in problem for problem in problems.values())


def test_a_sensor_of_a_broken_plugin_is_a_gap_and_the_device_is_measured(with_broken: Bench) -> None:
    (with_broken.folder / "inventory.yaml").write_text(
        "devices:\n  local:\n    kind: local\n    sensors: {fan: {plugin: acme-fan}, probe: {plugin: nobody}}\n"
    )
    ran = with_broken("run", "--device", "local", *SHAPE, *QUICK, "--json")
    assert ran.code == 0, ran.err
    sensors = {one["name"]: one.get("unavailable") for one in ran.document["measurements"][0]["sensors"]}
    assert "broken-lab 0.9" in sensors["fan"]
    assert "no plugin 'nobody' is installed" in sensors["probe"]
