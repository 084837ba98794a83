"""`suite bench peers`: own steps of tiny beside peers on this machine; what is missing, what fails, and bad input."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import replace

import pytest

from suite.peers import peer
from tests.support.end_to_end.suite_runs import SHAPE, Bench

QUICK = ("bench", "peers", "--quick", *SHAPE, "--quant", "fp32,nf4")


def test_own_steps_and_peers_are_measured_side_by_side(bench: Bench) -> None:
    ran = bench(*QUICK, "--peers", "torch-fp32,torch-forward-bf16,products-int8", "--json")
    assert ran.code == 0, ran.err
    found = ran.document
    assert (found["forward_tokens"], found["missing"], found["failed"]) == (2 * 2 * 2 * 32, {}, {})
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == ["suite-fp32", "suite-nf4", "torch-fp32", "torch-forward-bf16", "products-int8"]
    for row in rows.values():
        assert (len(row["round_s"]), row["peak_memory_kib"] > 0) == (1, True)
        assert row["tokens_per_s"] == pytest.approx(found["forward_tokens"] / row["seconds"])
        for setting, times in row["suite_takes_times"].items():
            assert times["ratio"] == pytest.approx(rows[f"suite-{setting}"]["seconds"] / row["seconds"])
    assert rows["torch-fp32"]["logits_error"] < 1e-3 < rows["torch-forward-bf16"]["logits_error"] < 0.1
    assert rows["products-int8"]["logits_error"] is None


def test_the_table_has_a_line_for_each_and_says_what_is_missing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "llama_cpp" else there(name))
    ran = bench(*QUICK[:-1], "fp32", "--peers", "products-fp32,llama-q4_0")
    assert ran.code == 4, ran.err
    first, *lines = ran.out.splitlines()
    assert first.startswith("tiny, q=2 b=2 T=32: 256 forward tokens")
    assert [line.split()[0] for line in lines if line.strip().startswith(("suite-", "products-"))] == [
        "suite-fp32",
        "products-fp32",
    ]
    assert lines[-1].startswith("llama-q4_0: llama-cpp-python is not installed: get it with `pip install ")


def test_a_peer_that_computes_something_else_is_left_out_and_says_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = replace(peer.PEERS["torch-forward-bf16"], logits_error=1e-6)
    monkeypatch.setattr(peer, "_PEERS", (strict, peer.PEERS["products-fp32"]))
    ran = bench(*QUICK[:-1], "fp32", "--json")
    assert ran.code == 4
    assert [row["name"] for row in ran.document["rows"]] == ["suite-fp32", "products-fp32"]
    assert "computes something else: its logits differ" in ran.document["failed"]["torch-forward-bf16"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--peers", "torch-fp31"), "torch-fp32"),
        (("--device", "nowhere"), "nowhere"),
        (("--quant", "fp33"), "fp33"),
        (("--rounds", "0"), "--rounds"),
        (("--threads", "2"), "set `threads: 2`"),
        (("--peers", ""), "No peer is named"),
    ],
)
def test_bad_input_is_one_sentence(arguments: Sequence[str], sentence: str, empty_bench: Bench) -> None:
    ran = empty_bench("bench", "peers", *arguments)
    assert ran.code == 2
    assert sentence in ran.sentence


def test_a_device_that_is_not_this_host_is_refused(empty_bench: Bench) -> None:
    (empty_bench.folder / "inventory.yaml").write_text("devices:\n  board: {kind: linux, host: 192.0.2.1, user: a}\n")
    ran = empty_bench("bench", "peers", "--device", "board")
    assert ran.code == 2
    assert "board is reached over ssh, but peers run on this host" in ran.sentence
