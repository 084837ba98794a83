"""The runner and its kernels under AddressSanitizer and UndefinedBehaviorSanitizer: what they find ends the process."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.runner_builds.build import compile_sources, native_toolchain
from tests.support.end_to_end.suite_runs import RUN, SETTINGS, Bench, by_setting

FLAGS = "-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"


@pytest.mark.full
def test_sanitizers_find_nothing_in_any_setting(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = tmp_path / "sanitized"
    compile_sources(native_toolchain(), build, tmp_path / "build.log", {"CMAKE_CXX_FLAGS": FLAGS})
    (bench.folder / "inventory.yaml").write_text(f"devices:\n  local:\n    kind: local\n    runner: {build}/runner\n")
    monkeypatch.setenv("ASAN_OPTIONS", "detect_leaks=1")
    ran = bench(*RUN, "--quick", "--json")
    found = {setting: (item["status"], item["reason"]) for setting, item in by_setting(ran.document).items()}
    assert found == dict.fromkeys(SETTINGS, ("ok", None))
