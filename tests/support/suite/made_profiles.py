"""Profiles of tiny and peaks of a device, made up so that their roofline is known."""

from __future__ import annotations

from reports.model.peaks import Peak, Peaks
from reports.model.profile import ProfileRow, SettingProfile

BATCHED = "Fully Connected (NC, F32) GEMM"
QUANTIZED = "Fully Connected (NC, QDU8, F32, QC8W) GEMM"


def peak(of: str, by: str, giga_per_s: int, buffer_bytes: int | None = None) -> Peak:
    unit = "operations" if buffer_bytes is None else "bytes"
    return Peak(of, by, unit, giga_per_s * 1000, (2000, 1000), buffer_bytes)


PEAKS = Peaks(
    "p", "2026-11-30T00:00:00+00:00", "board", "linux", False, {}, 2,
    (peak("float32", "fma", 100), peak("int8", "avx_vnni", 400), peak("read", "memory", 10, 1 << 28),
     peak("copy", "memory", 8, 1 << 28), peak("read", "cache", 50, 1 << 20)),
)  # fmt: skip


def row(
    group: str, name: str, ms: float, gflop: float | None, gbyte: float | None, place: str = "delegate"
) -> ProfileRow:
    """An operator of layer 0 that is called 4 times a step."""
    flops, size = (None if one is None else one * 1e9 for one in (gflop, gbyte))
    return ProfileRow(group, "", name, place, 0, 4, ms, flops, size)


def profile(*rows: ProfileRow, **workload: str | int) -> SettingProfile:
    """A profile of tiny, with 4 queries and 4 rows of 64 tokens, unless it is another workload."""
    described = {"model": "tiny", "quant": "fp32", "q": 4, "b": 4, "T": 64, "rank": 16, "method": "prge", **workload}
    total = sum(one.ms for one in rows)
    return SettingProfile(described, "hash", 2, (total,), (total,), 1, rows)
