"""A short campaign with fixed seeds, in this process; and the campaign itself detects what it looks for."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest

from tests.campaign import limits
from tests.campaign.__main__ import Tally, carry_out, table
from tests.campaign.inputs import FORMATS, READS, STORE, prepare
from tests.campaign.limits import Ended, NotHere, Outcome, attempt, fault_of
from tests.campaign.mutations import mutate
from tests.campaign.requests import ask

_FEW = {
    "store": 1, "store, rebuilt": 2, "store with a training": 1, "state of a training": 3, "journal": 3,
    "imported document": 3,
}  # fmt: skip
_SEEDS = 5


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_end_with_a_sentence_or_are_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = FORMATS[name]
    good = prepare(tmp_path / "good", made)
    for seed in range(_FEW.get(name, _SEEDS)):
        work = tmp_path / f"try-{seed}"
        shutil.copytree(tmp_path / "good", work)
        path = work / good.relative_to(tmp_path / "good")
        if seed:
            path.write_bytes(mutate(path.read_bytes(), random.Random(f"{name} {seed}")))
        monkeypatch.chdir(work)
        monkeypatch.setenv("SUITE_HOME", str(work / "home"))
        began = time.monotonic()
        code = made.read(path)
        output = capsys.readouterr()
        ended = Ended(code, output.out, output.err, time.monotonic() - began, 0)
        assert fault_of(ended, made.codes) is None, f"seed {seed}"
        assert seed or code == 0 or name.startswith("store"), output.err


def test_odd_requests_are_answered_and_the_server_serves_on(tmp_path: Path) -> None:
    for seed in range(40):
        assert ask(seed, tmp_path / "site").fault is None, f"seed {seed}"


def ended(code: int = 0, out: str = "", err: str = "", grown: int = 0) -> Ended:
    return Ended(code, out, err, 1.0, grown)


@pytest.mark.parametrize(
    ("found", "codes", "fault"),
    [
        (ended(), READS, None),
        (ended(2, err="suite: no such file\n"), READS, None),
        (ended(1, err="suite: damaged\n"), STORE, None),
        (ended(1, err="suite: damaged\n"), READS, "exit code 1"),
        (ended(-11), READS, "exit code -11"),
        (ended(2), READS, "without a sentence"),
        (ended(2, err="Traceback (most recent call last):\n  x\nKeyError: 1\n"), READS, "traceback: KeyError: 1"),
        (ended(out="a\x1b[31mb"), READS, "a control character"),
        (ended(out="a\u202eb"), READS, "a control character"),
        (ended(grown=1 << 40), READS, "memory"),
    ],
)
def test_a_fault_is_seen(found: Ended, codes: frozenset[int], fault: str | None) -> None:
    seen = fault_of(found, codes)
    assert seen is None if fault is None else fault in (seen or "")


def hang() -> int:
    time.sleep(60)
    return 0


def fail() -> int:
    raise KeyError("odd")


def grow() -> int:
    return len(bytearray(2 * limits.MEMORY_BYTES)) % 2


def write() -> int:
    Path("large").write_bytes(bytes(100_000))
    return 0


def test_tries_are_limited_and_seen_in_the_table(tmp_path: Path) -> None:
    hung = attempt(hang, tmp_path, seconds=0.2)
    assert (fault_of(hung, READS) or "").startswith("hang")
    assert (fault_of(attempt(fail, tmp_path), READS) or "") == "traceback: KeyError: 'odd'"
    assert (fault_of(attempt(grow, tmp_path), READS) or "").startswith("traceback: MemoryError")
    assert (fault_of(attempt(write, tmp_path, file_bytes=1000), READS) or "").startswith("traceback: OSError")
    killed = attempt(hang, tmp_path, kill_after_s=0.1)
    assert (killed.code, killed.hung) == (-9, False)
    slow, good = Outcome(hung, "hang"), Outcome(ended(), None)
    tallies = carry_out({"slow": lambda seed: slow, "good": lambda seed: good}, 1, 60.0, 2)
    assert {name: (tally.codes.total(), tally.faults) for name, tally in tallies.items()} == {
        "slow": (2, 2), "good": (2, 0),
    }  # fmt: skip
    assert table(tallies).endswith("4 tries, 2 faults")
    assert table({"none": Tally()}).endswith("0 tries, 0 faults")


def test_the_table_counts_only_what_was_tried() -> None:
    def mount(seed: int) -> Outcome:
        raise NotHere("no file system can be mounted here")

    def kill(seed: int) -> Outcome:
        return Outcome(ended(-9 if seed == 2 else 0), None, had_effect=seed == 2)

    tallies = carry_out(
        {"full disk": mount, "kill": kill, "late": lambda seed: Outcome(ended(), None, False)}, 1, 60.0, 3
    )
    rows = [" ".join(line.split()) for line in table(tallies).splitlines()]
    assert rows[1] == "full disk not tried: no file system can be mounted here"
    assert rows[2] == "kill 1 0 1.00 1.00 -9: 1; 2 more without effect"
    assert rows[3:] == ["late not tried: 3 had no effect", "1 tries, 0 faults"]
    assert carry_out({"full disk": mount}, 1, 60.0, None)["full disk"].not_here


@pytest.mark.slow
def test_damage_is_never_what_was_there() -> None:
    assert all(mutate(b"7", random.Random(seed)) != b"7" for seed in range(500))
    assert mutate(b"", random.Random(1))


@pytest.mark.slow
def test_a_seed_gives_the_same_damage_again() -> None:
    data = b'{"a": [1, 2, {"b": "c"}], "d": 1e5}\nline\n' * 3
    made = [mutate(data, random.Random(f"x {seed}")) for seed in range(300)]
    assert made == [mutate(data, random.Random(f"x {seed}")) for seed in range(300)]
    assert len(set(made)) > 250
