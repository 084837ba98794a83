"""A test that skips says why, and fails where every test must run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TEST = "import pytest\n\ndef test_it():\n    pytest.skip('no such device')\n"


@pytest.mark.parametrize(("variable", "code", "output"), [("0", 0, "1 skipped"), ("1", 1, "a skip is a failure")])
def test_a_skip_is_a_failure_only_where_it_must_not_be(variable, code, output, tmp_path):
    (tmp_path / "test_that_skips.py").write_text(TEST)
    root = Path(__file__).parents[2]
    environ = {"EDGE_SUITE_NO_SKIPS": variable, "PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"}
    environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    plugins = ["-p", "tests.support.twins.twin_fixtures", "-p", "no:cacheprovider"]
    argv = [sys.executable, "-m", "pytest", *plugins, "-rs", str(tmp_path)]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, env=environ, cwd=tmp_path)
    assert (ended.returncode, output in ended.stdout, "no such device" in ended.stdout) == (code, True, True)
