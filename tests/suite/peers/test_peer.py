"""Which peers there are, what a process is told, and how results compare."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import numpy as np
import pytest

from foundation.errors import UserError
from foundation.unavailable import Unavailable
from reports.model.reading import Interval
from suite.peers.comparison import PeerComparison, Row, logits_difference
from suite.peers.peer import PEERS, PeerJob, Work, select_peers
from tests.support.suite.peer_jobs import job_of


def test_patterns_choose_peers_in_the_order_of_the_table() -> None:
    chosen = [peer.name for peer in select_peers(["products-*", "torch-bf16", "torch-b*"])]
    assert chosen == ["torch-bf16", "products-fp32", "products-bf16", "products-int8"]


def test_an_unknown_peer_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(UserError, match=r"Unknown peer 'torch-fp31'.*torch-fp32"):
        select_peers(["torch-fp32", "torch-fp31"])


def test_a_peer_without_its_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    sentence = "llama-cpp-python is not installed: get it with `pip install 'edge-training-suite[peers]'`"
    assert PEERS["llama-q8_0"].missing == sentence
    assert PEERS["transformers-fp32"].missing == sentence.replace("llama-cpp-python", "transformers")


def test_a_job_comes_back_from_its_document(tmp_path) -> None:
    job = job_of("torch-bf16", tmp_path)
    assert PeerJob.from_document(json.loads(json.dumps(job.document()))) == job


def row(name: str, *seconds: float, setting: str | None = None, joules: float | Unavailable = 2.0) -> Row:
    return Row(name, Work.STEP, "fp32", setting, seconds, 2048, tuple(joules for _ in seconds))


def comparison(*rows: Row) -> PeerComparison:
    return PeerComparison({"model": "tiny"}, 100, 1, rows, {}, {})


def test_ratios_are_taken_within_rounds_so_that_drift_leaves_them() -> None:
    own, peer = row("suite-fp32", 1.0, 2.0, 4.0, setting="fp32"), row("torch-fp32", 2.0, 4.0, 8.0)
    assert comparison(own, peer).ratio(own, peer) == (0.5, Interval(0.5, 0.5))


def rows_of(found: PeerComparison) -> list[Any]:
    """The rows of its document, as one reads them from JSON."""
    rows: list[Any] = json.loads(json.dumps(found.document()))["rows"]
    return rows


def test_the_document_has_numbers_with_intervals_and_reasons_for_what_is_missing() -> None:
    own = row("suite-fp32", 1.0, 2.0, 4.0, setting="fp32", joules=Unavailable("no sensor"))
    first, second = rows_of(comparison(own, row("torch-fp32", 4.0, 2.0, 1.0)))
    assert (first["seconds"], first["tokens_per_s"], first["joules"]) == (2.0, 50.0, {"unavailable": "no sensor"})
    assert first["ci95_s"][0] < 2.0 < first["ci95_s"][1]
    assert (second["joules"], second["peak_memory_kib"]) == (2.0, 2048)
    assert second["suite_takes_times"]["fp32"]["ratio"] == 1.0


def test_a_single_round_has_no_interval() -> None:
    (only,) = rows_of(comparison(row("suite-fp32", 1.0, setting="fp32")))
    assert "unavailable" in only["ci95_s"]


def test_one_round_without_joules_leaves_none() -> None:
    mixed = Row("torch-fp32", Work.STEP, "fp32", round_s=(1.0, 1.0), round_j=(3.0, Unavailable("gone")))
    assert mixed.joules == Unavailable("gone")


def test_logits_that_differ_by_a_constant_are_equal_and_others_are_far_apart() -> None:
    generator = np.random.default_rng(3)
    exact, other = generator.normal(size=(2, 2, 1, 64)).astype(np.float32)
    assert logits_difference(exact + 5, exact) < 1e-6
    assert logits_difference(exact * 1.01, exact) == pytest.approx(0.01, rel=1e-3)
    assert logits_difference(other, exact) > 1
