import importlib.util
import re
from pathlib import Path

import pytest

from suite.sessions.collect import ExecuTorchError, describe, means_unsupported, parse_code


def test_names_and_codes_are_those_of_the_installed_header():
    spec = importlib.util.find_spec("executorch")
    assert spec is not None
    assert spec.submodule_search_locations
    header = Path(next(iter(spec.submodule_search_locations))) / "include/executorch/runtime/core/error.h"
    body = header.read_text().split("enum class Error", 1)[1].split("};", 1)[0]
    theirs = {name: int(code, 16) for name, code in re.findall(r"^\s*(\w+) = (0x[0-9a-fA-F]+),", body, re.MULTILINE)}
    assert len(theirs) > 15
    assert theirs == {error.name: error.value for error in ExecuTorchError}


def test_codes_are_described_by_number_and_name():
    assert describe(0x14) == "0x14 OperatorMissing"
    assert describe(0x99) == "0x99 (not a known ExecuTorch error)"


@pytest.mark.parametrize(
    ("text", "code"), [("0x14", 20), ("14", 20), (None, None), ("x", None), ("0x" + "1" * 40, None)]
)
def test_codes_are_read_from_text(text, code):
    assert parse_code(text) == code


@pytest.mark.parametrize(
    ("code", "stage", "log", "expected"),
    [
        (0x14, "load", "", True),
        (0x30, "load", "", True),
        (0x10, "execute", "", True),
        (0x20, "load", "", True),
        (0x20, "execute", "", False),
        (0x01, "load", "XNN Runtime creation failed with code: xnn_status_unsupported_hardware", True),
        (0x01, "load", "", False),
        (0x23, "load", "", False),
        (0x21, "load", "", False),
        (None, "load", "", False),
    ],
)
def test_unsupported_is_distinguished_from_broken(code, stage, log, expected):
    assert means_unsupported(code, stage, log) is expected
