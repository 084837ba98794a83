"""Names of processor cores from /proc/cpuinfo, on x86 and ARM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from foundation.text import printable

# MIDR implementer and part numbers, as in Linux, arch/arm64/include/asm/cputype.h.
_ARM_PARTS = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd09"): "Cortex-A73",
    ("0x41", "0xd0a"): "Cortex-A75",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd0d"): "Cortex-A77",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd41"): "Cortex-A78",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd44"): "Cortex-X1",
    ("0x41", "0xd46"): "Cortex-A510",
    ("0x41", "0xd47"): "Cortex-A710",
    ("0x41", "0xd48"): "Cortex-X2",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4d"): "Cortex-A715",
    ("0x41", "0xd4e"): "Cortex-X3",
    ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x41", "0xd80"): "Cortex-A520",
    ("0x41", "0xd81"): "Cortex-A720",
    ("0x41", "0xd82"): "Cortex-X4",
    ("0x4e", "0x003"): "NVIDIA Denver",
    ("0x4e", "0x004"): "NVIDIA Carmel",
}


def core_records(cpuinfo: str) -> tuple[Mapping[str, str], ...]:
    """One mapping per core that is on. Text that belongs to no core (the board, on ARM) is left out."""
    blocks = []
    for block in cpuinfo.split("\n\n"):
        lines = (line.partition(":") for line in block.splitlines())
        record = {key.strip(): value.strip() for key, colon, value in lines if colon}
        if "processor" in record:
            blocks.append(record)
    return tuple(blocks)


def core_models(cores: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """The different cores there are, such as `Cortex-A76 r4p1`; how many are on is no part of what they are."""
    return tuple(sorted({_core_model(core) for core in cores}))


def _core_model(core: Mapping[str, str]) -> str:
    if part := core.get("CPU part"):
        implementer = core.get("CPU implementer", "?")
        name = _ARM_PARTS.get((implementer, part), f"ARM implementer {implementer} part {part}")
        return printable(f"{name} r{core.get('CPU variant', '?').removeprefix('0x')}p{core.get('CPU revision', '?')}")
    name = core.get("model name") or core.get("Processor") or "unknown core"
    numbers = " ".join(f"{key.split()[-1]} {core[key]}" for key in ("cpu family", "model", "stepping") if key in core)
    return printable(f"{name} ({numbers})" if numbers else name)
