"""Processors of boards, as their kernels describe them, and this host's own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_BASE = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
_ARM = 0x41


@dataclass(frozen=True)
class Processor:
    """A core as the emulator and /proc/cpuinfo name it. `part` is from the Main ID Register (Arm's manuals).

    Without `emulated_as` it is this host's own, which nothing emulates.
    """

    emulated_as: str = ""
    part: int = 0
    features: str = ""
    cores: int = min(4, len(os.sched_getaffinity(0)))  # affinity is the host's: it can't have more

    @property
    def machine(self) -> str:
        """What `uname -m` says."""
        return "aarch64" if self.emulated_as else os.uname().machine

    def cpuinfo(self) -> str:
        """The text of /proc/cpuinfo."""
        if not self.emulated_as:
            return Path("/proc/cpuinfo").read_text()
        record = (
            f"BogoMIPS\t: 38.40\nFeatures\t: {self.features}\nCPU implementer\t: {_ARM:#04x}\n"
            f"CPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: {self.part:#05x}\nCPU revision\t: 1\n"
        )
        return "\n".join(f"processor\t: {number}\n{record}" for number in range(self.cores)) + "\n"


NANO = Processor("cortex-a57", 0xD07, _BASE)
PI_4 = Processor("cortex-a72", 0xD08, "fp asimd evtstrm crc32 cpuid")
PI_5 = Processor("cortex-a76", 0xD0B, f"{_BASE} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp")
WITH_BF16 = Processor("max,sme=off", 0x051, f"{PI_5.features} bf16")
THIS_HOST = Processor()
