"""Files of known content: some to deploy, and a device's trees of /proc and /sys."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from devices.deployment.deploy import DeployFile
from devices.sensors.reading import Tree

MakeTree = Callable[[Mapping[str, str]], Tree]
MakeFile = Callable[..., DeployFile]

X86_CORE = """\
processor\t: {number}
cpu family\t: 6
model\t\t: 85
model name\t: Fast CPU 9000
stepping\t: 7
microcode\t: 0x5003604
flags\t\t: fpu avx2 avx512f fma
"""
ARM_CORE = """\
processor\t: {number}
Features\t: fp asimd evtstrm aes
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3
"""
