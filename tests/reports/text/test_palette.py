"""One colour per setting, told apart by everyone, and one symbol per device."""

import itertools
import re
from importlib import resources

import numpy as np
import pytest
from numpy.typing import NDArray

from reports.text.appearance import colour, setting_order, slot, symbols
from workloads.quantize.settings import QUANTIZATION_SETTINGS

_CSS = (resources.files("reports") / "static" / "site.css").read_text(encoding="utf-8")
_VARIABLE = re.compile(r"--([a-z0-9-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)")
_COLOURS = {name: {"light": light, "dark": dark} for name, light, dark in _VARIABLE.findall(_CSS)}

# Machado, Oliveira, Fernandes 2009, severity 1, on linear RGB.
_VISION = {
    "full": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def _linear(colour_hex: str) -> NDArray[np.float64]:
    rgb = np.array([int(colour_hex[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def _lab(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(linear, 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def _contrast(one: str, other: str) -> float:
    weights = np.array([0.2126, 0.7152, 0.0722])
    low, high = sorted(float(weights @ _linear(part)) for part in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("vision", list(_VISION))
def test_colours_of_the_eight_settings_differ_clearly_to_every_eye(theme: str, vision: str) -> None:
    matrix = np.array(_VISION[vision])
    seen = [_lab(matrix @ _linear(_COLOURS[f"setting-{index}"][theme])) for index in range(8)]
    closest = min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2))
    assert closest > 20  # A just noticeable difference is 2.3.


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_stand_out_from_the_surface(theme: str) -> None:
    for name, least in [(f"setting-{index}", 3.0) for index in range(9)] + [
        (name, 4.5) for name in ("text", "muted", "accent", "good", "warn", "bad", "quiet")
    ]:
        for ground in ("surface", "page"):
            assert _contrast(_COLOURS[name][theme], _COLOURS[ground][theme]) >= least, (name, ground)


def test_setting_has_the_same_colour_whatever_else_is_on_the_page() -> None:
    assert [slot(name) for name in ("fp32", "fp16", "int8", "nf4")] == [0, 1, 2, 3]
    assert sorted(map(slot, QUANTIZATION_SETTINGS)) == list(range(8))
    assert slot("int4") == slot("int2") == 8
    assert colour("nf4") == "var(--setting-3)"


def test_settings_are_ordered_from_wide_to_narrow_with_unknown_ones_last() -> None:
    assert sorted(["nf4", "zz", "int8", "fp32"], key=setting_order) == ["fp32", "int8", "nf4", "zz"]
    assert sorted(QUANTIZATION_SETTINGS, key=setting_order) == list(QUANTIZATION_SETTINGS)


def test_twenty_devices_have_twenty_symbols() -> None:
    chosen = symbols([f"pi{index}" for index in range(20)])
    assert len(set(chosen.values())) == 20
