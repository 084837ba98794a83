"""`suite profile`: operators of real steps of tiny, on this machine and over links; what is kept, and bad input."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from devices.deployment.built_runner import BuiltRunner
from tests.support.devices.loopback_daemons import LINKS, loopback_daemon
from tests.support.end_to_end.suite_runs import SHAPE, Bench
from tests.support.twins.twin_boards import RASPBERRY_PI_5
from tests.support.twins.twin_ssh import SshTwin
from workloads.models.config import PROJECTIONS

PROFILE = ("profile", *SHAPE, "--quick")


def check_setting(found: dict[str, Any]) -> None:
    """Asserts what is true of each profile of tiny."""
    assert len(found["plain_ms"]) == len(found["profiled_ms"]) == 3
    assert sum(row["ms"] for row in found["rows"]) == pytest.approx(found["step_ms"])
    assert min(found["profiled_ms"]) <= found["step_ms"] <= max(found["profiled_ms"])
    assert all(row["ms"] >= 0 for row in found["rows"])
    products = {(row["layer"], row["part"]) for row in found["rows"] if row["group"] == "frozen products"}
    assert products == {(layer, name) for layer in range(2) for name in PROJECTIONS}
    groups = {row["group"] for row in found["rows"]}
    assert groups >= {"low-rank share", "attention", "norm", "rotary", "gate", "head and loss", "noise and update"}
    assert "not attributed" in groups


def test_a_profile_adds_up_and_is_kept_with_its_page(bench: Bench) -> None:
    ran = bench(*PROFILE, "--quant", "fp32,nf4", "--json")
    assert ran.code == 0, ran.err
    found = ran.document
    assert [one["workload"]["quant"] for one in found["settings"]] == ["fp32", "nf4"]
    for one in found["settings"]:
        check_setting(one)
    folder = bench.home / "profiles" / found["profile_id"]
    assert json.loads((folder / "profile.json").read_text()) == {
        name: value for name, value in found.items() if name != "page"
    }
    assert {path.name for path in folder.iterdir()} >= {"fp32.jsonl", "nf4.jsonl", "fp32.job.json", "profile.html"}
    assert _is_one_file(folder / "profile.html")
    assert bench("profile", "--show", "latest", "--json").document == found
    assert bench("profile", "--show", "list").out.split() == [found["profile_id"]]


def _is_one_file(page: Path) -> bool:
    text = page.read_text()
    return "Plotly" in text and '"icicle"' in text and '<link rel="stylesheet"' not in text and ' src="' not in text


def test_the_table_names_the_step_the_overhead_and_the_projections(bench: Bench) -> None:
    ran = bench(*PROFILE, "--quant", "fp32")
    assert ran.code == 0, ran.err
    first, *table = ran.out.splitlines()
    assert first.startswith("fp32: ")
    assert "% in 3 pairs of steps)" in first
    assert "% of it is outside frozen products" in first
    assert [line.split()[0] for line in table if line.strip().startswith("not")] == ["not"]
    assert table[-1].startswith("profile ")
    again = bench("profile", "--show", table[-1].split()[1].rstrip(":"))
    assert again.out == ran.out


@pytest.mark.parametrize("link", LINKS)
def test_a_profile_comes_over_a_link(link: str, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with loopback_daemon(link, tmp_path / "daemon") as daemon:
        for name, value in daemon.environ.items():
            monkeypatch.setenv(name, value)
        entry = daemon.entry(workdir=str(daemon.folder / "edge 'suite'")).model_dump(
            exclude_unset=True, exclude={"name"}
        )
        YAML().dump({"devices": {"board": entry}}, bench.folder / "inventory.yaml")
        ran = bench(*PROFILE, "--device", "board", "--quant", "nf4", "--json")
    assert ran.code == 0, ran.err
    assert ran.document["device"] == "board"
    (found,) = ran.document["settings"]
    check_setting(found)


def test_a_profile_comes_from_an_emulated_aarch64_board(
    bench: Bench, aarch64_runner: BuiltRunner, tmp_path: Path
) -> None:
    with SshTwin(tmp_path / "twin", RASPBERRY_PI_5, busybox=True) as twin:
        YAML().dump({"devices": {"board": twin.entry(kind="linux")}}, bench.folder / "inventory.yaml")
        ran = bench(*PROFILE, "--device", "board", "--quant", "fp32,nf4", "--json")
    assert ran.code == 0, ran.err
    assert (ran.document["emulated"], ran.document["machine"]["machine"]) == (True, "aarch64")
    assert aarch64_runner.hash.startswith(ran.document["machine"]["runner"])
    for found in ran.document["settings"]:
        check_setting(found)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--show", "latest"), "There is no profile yet"),
        (("--show", "latest", "--quick"), "leave out --quick"),
        (("--device", "nowhere"), "nowhere"),
        (("--device", "local", "--quant", "fp33"), "fp33"),
        (("--device", "local", "--steps", "0"), "steps"),
        (("--device", "local", "--method", "none"), "none"),
    ],
)
def test_bad_input_is_one_sentence(arguments: Sequence[str], sentence: str, empty_bench: Bench) -> None:
    ran = empty_bench("profile", *arguments)
    assert ran.code == 2
    assert sentence in ran.sentence


def test_an_unknown_or_damaged_profile_is_refused_by_name(empty_bench: Bench) -> None:
    for name, content in (("2026-01-01T00-00-00-aaaa", "{"), ("2026-01-02T00-00-00-bbbb", '{"schema": 2}')):
        folder = empty_bench.home / "profiles" / name
        folder.mkdir(parents=True)
        (folder / "profile.json").write_text(content)
        refused = empty_bench("profile", "--show", name)
        assert (refused.code, f"{name}/profile.json can't be read" in refused.sentence) == (2, True)
    assert "2026-01-02T00-00-00-bbbb" in empty_bench("profile", "--show", "2026-01-02T00-00-00-bbb").sentence
