"""A job with `memory_every`: how much memory a session has as its steps go on, and how often a step allocates more."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from foundation.host_tools import find_compiler

LEAKED_BYTES = 5000
"""Below the size that glibc maps separately, so that the blocks are in the heap."""

LEAK = f"""
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void* volatile kept;

/* executorch::runtime::Method::execute(), which the runner calls once in each step. */
uint32_t _ZN10executorch7runtime6Method7executeEv(void* method) {{
  kept = malloc({LEAKED_BYTES});
  memset(kept, 1, {LEAKED_BYTES});
  uint32_t (*execute)(void*) = (uint32_t (*)(void*))dlsym(RTLD_NEXT, "_ZN10executorch7runtime6Method7executeEv");
  return execute(method);
}}
"""

STEPS = 400


@pytest.fixture(scope="session")
def leak(tmp_path_factory):
    """A library that makes each step of a runner leak."""
    folder = tmp_path_factory.mktemp("leak")
    (folder / "leak.c").write_text(LEAK)
    compiler = str(find_compiler("to build a leak", os.environ))
    command = [compiler, "-x", "c", "-shared", "-fPIC", "-O1", "-o", "leak.so", "leak.c", "-ldl"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "leak.so"


@pytest.fixture
def long_job(job):
    job["steps"] = STEPS
    return job | {"memory_every": 50}


def growth(outcome, quantity):
    """Returns the growth of a quantity after the warm-up, in KiB a step."""
    first, *_, last = outcome.of("memory")[1:]
    return (last[quantity] - first[quantity]) / (last["step"] - first["step"])


def test_a_session_without_a_leak_allocates_nothing_and_does_not_grow(run, long_job):
    outcome = run(long_job)
    steps = outcome.of("step")
    assert [step["allocations"] for step in steps if step["phase"] == "measured"] == [0] * STEPS
    assert [step["allocated_bytes"] for step in steps if step["phase"] == "measured"] == [0] * STEPS
    assert growth(outcome, "heap_used_kib") == 0


def test_a_leak_is_in_the_heap_and_in_the_allocations_of_each_step(run, long_job, leak, monkeypatch):
    monkeypatch.setenv("LD_PRELOAD", str(leak))
    outcome = run(long_job)
    assert outcome.footer["cause"] == "completed"
    assert {step["allocations"] for step in outcome.of("step")[1:]} == {1}
    assert {step["allocated_bytes"] for step in outcome.of("step")[1:]} == {LEAKED_BYTES}
    for quantity in ("heap_used_kib", "anonymous_kib", "rss_kib"):
        assert growth(outcome, quantity) == pytest.approx(LEAKED_BYTES / 1024, rel=0.1), quantity


def test_memory_comes_after_the_first_step_and_every_so_many(run, long_job):
    outcome = run(long_job | {"steps": 197})
    assert [memory["step"] for memory in outcome.of("memory")] == [0, 50, 100, 150]
    places = [outcome.events.index(memory) for memory in outcome.of("memory")]
    before = [outcome.events[place - 1] for place in places]
    assert [step["index"] for step in before] == [0, 50, 100, 150]
    assert all(step["t1_ns"] < memory["t_ns"] for step, memory in zip(before, outcome.of("memory"), strict=True))
    assert outcome.events[-1] == {"event": "end", "lines": len(outcome.events) - 1}


def test_parts_of_memory_fit_together(run, long_job):
    for memory in run(long_job).of("memory"):
        assert memory["unavailable"] == {}
        assert 0 < memory["heap_used_kib"] <= memory["heap_held_kib"]
        assert memory["pss_kib"] <= memory["rss_kib"]
        assert memory["anonymous_kib"] <= memory["rss_kib"]


def test_allocations_of_sensors_are_not_counted_for_a_step(run, long_job):
    """A sensor that fails composes an error message at each reading."""
    bad = {"name": "bad", "quantity": "power_mw", "path": "/nowhere", "scale": 1.0, "rate_hz": 5000}
    outcome = run(long_job | {"sensors": [bad], "steps": 2000}, unread_s=1.0)
    assert outcome.of("sensor_error")[0]["errors"] > 100
    assert {step["allocations"] for step in outcome.of("step") if step["phase"] == "measured"} == {0}


def test_without_the_key_nothing_is_counted(run, job):
    outcome = run(job)
    assert outcome.of("memory") == []
    assert not any("allocations" in step for step in outcome.of("step"))


@pytest.mark.parametrize("value", [0, -1, 1.5, "10", True, None])
def test_a_wrong_cadence_is_refused_by_name(run, job, value):
    outcome = run(json.dumps(job | {"memory_every": value}))
    assert (outcome.returncode, outcome.footer["stage"]) == (1, "job")
    assert "job.memory_every must be a whole number from 1" in outcome.footer["reason"]
