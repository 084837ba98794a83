"""What identifies a device, and the state it is in: read through its transport, so every kind of way serves.

Identity (what may change performance and stays from day to day) makes the fingerprint; state (governor, frequency
limits, cores that are off) is kept beside it, to be compared but not to start a new series.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from devices.cpu_names import core_models, core_records
from devices.device_tree import device_tree_paths, device_tree_text
from devices.sensors.battery import battery_percent
from devices.sensors.chargers import chargers_in
from devices.sensors.tree import Texts, Tree
from devices.transport import FILE_TIMEOUT_S
from foundation.text import printable

_CPUS = "sys/devices/system/cpu"
_FILES = {
    "cpuinfo": "proc/cpuinfo",
    "meminfo": "proc/meminfo",
    "kernel": "proc/sys/kernel/osrelease",
    "kernel_build": "proc/sys/kernel/version",
    "os_release": "etc/os-release",
    "present": f"{_CPUS}/present",
    "online": f"{_CPUS}/online",
    "vendor": "sys/class/dmi/id/sys_vendor",
    "product": "sys/class/dmi/id/product_name",
    "hypervisor": "sys/hypervisor/type",
}
# Firmware and kernels reserve a little more or less from build to build: memory counts in steps of 256 MiB.
_MEMORY_STEP_KIB = 256 << 10
_VIRTUAL_MACHINES = re.compile(
    r"qemu|kvm|virtualbox|vmware|virtual machine|xen|bochs|amazon ec2|google compute|openstack|dummy-virt|firecracker",
    re.I,
)


@dataclass(frozen=True)
class Policy:
    """A group of cores with one clock: governor, and frequencies in kHz as far as the kernel shows them."""

    name: str
    governor: str | None
    hardware_max_khz: int | None
    allowed_min_khz: int | None
    allowed_max_khz: int | None
    current_khz: int | None


@dataclass(frozen=True)
class Facts:
    """A device's identity and state. None: the device doesn't say.

    `settings`: what a kind has of its own, such as a power mode; it is state, and no part of the fingerprint. So are
    `battery_percent`, the charge from 0 to 100, and `charger_plugged`, which is None without a battery.
    """

    machine: str
    board: str | None
    cpu_models: tuple[str, ...]
    cpu_count: int | None
    cpu_features: tuple[str, ...]
    microcode: str | None
    memory_kib: int | None
    os_build: str | None
    kernel: str | None
    kernel_build: str | None
    virtual_machine: str | None
    online_cpus: str | None
    swap_kib: int | None
    policies: tuple[Policy, ...]
    settings: Mapping[str, str] = field(default_factory=dict)
    battery_percent: float | None = None
    charger_plugged: bool | None = None

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits over the identity alone: the same from boot to boot, another after an update."""
        identity = {
            "machine": self.machine,
            "board": self.board,
            "cpu_models": self.cpu_models,
            "cpu_count": self.cpu_count,
            "cpu_features": self.cpu_features,
            "microcode": self.microcode,
            "memory_steps": None if self.memory_kib is None else -(-self.memory_kib // _MEMORY_STEP_KIB),
            "os_build": self.os_build,
            "kernel": self.kernel,
            "kernel_build": self.kernel_build,
            "virtual_machine": self.virtual_machine,
            "hardware_max_khz": [policy.hardware_max_khz for policy in self.policies],
        }
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def as_document(self) -> dict[str, Any]:
        """Plain values for the store, the fingerprint among them."""
        return asdict(self) | {"fingerprint": self.fingerprint}


def read_facts(tree: Tree) -> Facts:
    """Reads all facts in a command and a few round trips. Raises `DeviceError` if the device doesn't answer."""
    texts = tree.read((*_FILES.values(), *device_tree_paths("model"), *device_tree_paths("compatible")))
    uname = tree.transport.run(["uname", "-m"], timeout_s=FILE_TIMEOUT_S)
    cores = core_records(texts.text(_FILES["cpuinfo"]) or "")
    first = cores[0] if cores else {}
    features = first.get("flags") or first.get("Features") or ""
    present = parse_cpu_list(texts.text(_FILES["present"]) or "")
    charge = battery_percent(tree)
    return Facts(
        machine=printable(uname.stdout, 40) or "unknown",
        board=_board(texts),
        cpu_models=core_models(cores),
        cpu_count=len(present) if present else len(cores) or None,
        cpu_features=tuple(sorted({printable(word, 40) for word in features.split()})),
        microcode=_shown(first.get("microcode")),
        memory_kib=_meminfo(texts, "MemTotal"),
        os_build=_os_build(texts.text(_FILES["os_release"]) or ""),
        kernel=_shown(texts.text(_FILES["kernel"])),
        kernel_build=_shown(texts.text(_FILES["kernel_build"])),
        virtual_machine=_virtual_machine(texts, features),
        online_cpus=_shown(texts.text(_FILES["online"])),
        swap_kib=_meminfo(texts, "SwapTotal"),
        policies=read_policies(tree),
        battery_percent=charge,
        charger_plugged=None if charge is None else chargers_in(tree).is_plugged,
    )


def read_policies(tree: Tree) -> tuple[Policy, ...]:
    """The cpufreq policies (Documentation/admin-guide/pm/cpufreq.rst); none in most virtual machines."""
    folder = f"{_CPUS}/cpufreq"
    files = ("scaling_governor", "cpuinfo_max_freq", "scaling_min_freq", "scaling_max_freq", "scaling_cur_freq")
    names = tree.names(folder, r"policy\d+")
    texts = tree.read(f"{folder}/{name}/{file}" for name in names for file in files)

    def khz(name: str, file: str) -> int | None:
        number = texts.number(f"{folder}/{name}/{file}")
        return None if number is None else int(number)

    return tuple(
        Policy(name, _shown(texts.text(f"{folder}/{name}/{files[0]}")), *(khz(name, file) for file in files[1:]))
        for name in names
    )


def parse_cpu_list(text: str) -> tuple[int, ...] | None:
    """The kernel's notation for CPU lists (`0-3,6`); None if it isn't one."""
    if not re.fullmatch(r"\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*", text.strip(), re.ASCII):
        return None
    cpus: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        cpus.extend(range(int(first), int(last or first) + 1))
    return tuple(cpus)


def parse_meminfo(text: str) -> Mapping[str, int]:
    """The lines of /proc/meminfo in KiB."""
    return {
        match[1]: int(match[2]) for match in re.finditer(r"^(\w+):\s+(\d{1,18}) kB$", text, re.MULTILINE | re.ASCII)
    }


def _shown(text: str | None) -> str | None:
    return printable(text) or None if text else None


def _meminfo(texts: Texts, key: str) -> int | None:
    return parse_meminfo(texts.text(_FILES["meminfo"]) or "").get(key)


def _board(texts: Texts) -> str | None:
    model = device_tree_text(texts, "model")
    dmi = " ".join(filter(None, (texts.text(_FILES["vendor"]), texts.text(_FILES["product"]))))
    return _shown(model or dmi)


def _os_build(os_release: str) -> str | None:
    """Name, version and build of the system from os-release(5)."""
    lines = (line.partition("=") for line in os_release.splitlines())
    values = {key.strip(): value.strip().strip("\"'") for key, _, value in lines}
    return _shown(" ".join(values[key] for key in ("PRETTY_NAME", "VERSION_ID", "BUILD_ID") if values.get(key)))


def _virtual_machine(texts: Texts, features: str) -> str | None:
    """What says that this is a virtual machine, None if nothing does."""
    hypervisor = texts.text(_FILES["hypervisor"])
    if hypervisor:
        return printable(hypervisor, 80)
    named = [texts.text(_FILES[key]) for key in ("vendor", "product")]
    for text in (*named, device_tree_text(texts, "model"), device_tree_text(texts, "compatible")):
        if text and _VIRTUAL_MACHINES.search(text):
            return printable(text, 80)
    return "hypervisor flag of the processor" if "hypervisor" in features.split() else None
