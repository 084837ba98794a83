"""The Dockerfile, which no test can build, only uses targets that the Makefile has."""

from __future__ import annotations

import re

from tests.layout.test_layout import ROOT


def test_every_step_of_the_image_is_a_target_of_make() -> None:
    text = (ROOT / "Dockerfile").read_text().replace('", "', " ")
    steps = {
        word for line in re.findall(r'^(?:RUN |CMD \[")make ([a-z -]+)', text, re.MULTILINE) for word in line.split()
    }
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"setup", "run", "setup-dev", "browser", "tools", "test"} <= steps <= targets
