"""A device's identity and state, read through any transport.

Processor cores are named by /proc/cpuinfo, boards by the device tree that the firmware passes to the kernel.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from devices.sensors.battery import battery_mwh, battery_percent, chargers_in
from devices.sensors.reading import Texts, Tree
from devices.transports.transport import FILE_TIMEOUT_S
from foundation.text import printable

_FOLDERS = ("proc/device-tree", "sys/firmware/devicetree/base")


def device_tree_paths(name: str) -> tuple[str, ...]:
    """Returns the possible paths of the root node's property `name` (`model`, `compatible`), below a device's root."""
    return tuple(f"{folder}/{name}" for folder in _FOLDERS)


def device_tree_text(texts: Texts, name: str) -> str | None:
    """Returns the property's text from the files of `device_tree_paths` that were read; None if none has it."""
    return next((text for path in device_tree_paths(name) if (text := texts.text(path))), None)


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
    """Returns a mapping for each core that is online. Text about anything else (on ARM, the board) is left out."""
    blocks = []
    for block in cpuinfo.split("\n\n"):
        lines = (line.partition(":") for line in block.splitlines())
        record = {key.strip(): value.strip() for key, colon, value in lines if colon}
        if "processor" in record:
            blocks.append(record)
    return tuple(blocks)


def core_models(cores: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """Returns the distinct kinds of cores, such as `Cortex-A76 r4p1`, however many of them are online."""
    return tuple(sorted({_core_model(core) for core in cores}))


def _core_model(core: Mapping[str, str]) -> str:
    if part := core.get("CPU part"):
        implementer = core.get("CPU implementer", "?")
        name = _ARM_PARTS.get((implementer, part), f"ARM implementer {implementer} part {part}")
        return printable(f"{name} r{core.get('CPU variant', '?').removeprefix('0x')}p{core.get('CPU revision', '?')}")
    name = core.get("model name") or core.get("Processor") or "unknown core"
    numbers = " ".join(f"{key.split()[-1]} {core[key]}" for key in ("cpu family", "model", "stepping") if key in core)
    return printable(f"{name} ({numbers})" if numbers else name)


_CPUS = "sys/devices/system/cpu"
_FILES = {
    "cpuinfo": "proc/cpuinfo",
    "meminfo": "proc/meminfo",
    "kernel": "proc/sys/kernel/osrelease",
    "kernel_build": "proc/sys/kernel/version",
    "os_release": "etc/os-release",
    "present": f"{_CPUS}/present",
    "online": f"{_CPUS}/online",
    "process": "proc/self/status",
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
    """A group of cores with one clock: governor, and frequencies in kHz if the kernel reports them."""

    name: str
    governor: str | None
    hardware_max_khz: int | None
    allowed_min_khz: int | None
    allowed_max_khz: int | None
    current_khz: int | None


@dataclass(frozen=True)
class Facts:
    """A device's identity and state. None: not reported by the device.

    `settings`: what a kind adds, such as a power mode. Settings are state, not part of the identity, and so are
    `battery_percent` (the charge from 0 to 100), `charger_plugged` (None without a battery) and `battery_mwh` (the
    battery's capacity, which decreases with age).
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
    battery_mwh: float | None = None

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits over the identity alone: unchanged by reboots, changed by an update."""
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
        """Returns plain values for the store, including the fingerprint."""
        return asdict(self) | {"fingerprint": self.fingerprint}


def read_facts(tree: Tree) -> Facts:
    """Reads all facts with one command and from folders and files.

    Raises `DeviceError` if the device doesn't answer.
    """
    texts = tree.read((*_FILES.values(), *device_tree_paths("model"), *device_tree_paths("compatible")))
    uname = tree.run(["uname", "-m"], FILE_TIMEOUT_S)
    cores = core_records(texts.text(_FILES["cpuinfo"]) or "")
    first = cores[0] if cores else {}
    features = first.get("flags") or first.get("Features") or ""
    charge, full, plugged = battery_percent(tree), battery_mwh(tree), chargers_in(tree).is_plugged
    return Facts(
        machine=printable(uname.stdout, 40) or "unknown",
        board=_board(texts),
        cpu_models=core_models(cores),
        cpu_count=_cpu_count(texts),
        cpu_features=tuple(sorted({printable(word, 40) for word in features.split()})),
        microcode=_printable_or_none(first.get("microcode")),
        memory_kib=_meminfo(texts, "MemTotal"),
        os_build=_os_build(texts.text(_FILES["os_release"]) or ""),
        kernel=_printable_or_none(texts.text(_FILES["kernel"])),
        kernel_build=_printable_or_none(texts.text(_FILES["kernel_build"])),
        virtual_machine=_virtual_machine(texts, features),
        online_cpus=_printable_or_none(texts.text(_FILES["online"])),
        swap_kib=_meminfo(texts, "SwapTotal"),
        policies=read_policies(tree),
        battery_percent=charge,
        charger_plugged=None if charge is None else plugged,
        battery_mwh=None if charge is None else full,
    )


def hardware_words(known: Mapping[str, Any]) -> list[str]:
    """Returns board, cores and memory in words, from facts as a document."""
    models, memory_kib = known.get("cpu_models"), known.get("memory_kib")
    cores = " and ".join(map(str, models)) if isinstance(models, list | tuple) else ""
    memory = f"{memory_kib / (1 << 20):.1f} GiB" if isinstance(memory_kib, int) and memory_kib else "unknown memory"
    words = [known.get("board"), f"{known.get('cpu_count') or '?'} x {cores or known.get('machine')}", memory]
    return [str(word) for word in words if word]


def usable_cpus(tree: Tree) -> tuple[int, ...]:
    """Returns the cores that a program started on the device may run on; empty if not reported by the device.

    Cores that are switched off (as by power modes of a Jetson) and those that a container, a cpuset or `taskset`
    excludes are left out.
    """
    texts = tree.read([_FILES["online"], _FILES["process"], _FILES["cpuinfo"]])
    allowed = re.search(r"^Cpus_allowed_list:\s*(\S+)\s*$", texts.text(_FILES["process"]) or "", re.MULTILINE)
    lists = [parse_cpu_list(texts.text(_FILES["online"]) or ""), parse_cpu_list(allowed[1]) if allowed else None]
    known = [set(cpus) for cpus in lists if cpus]
    if not known:
        return tuple(range(len(core_records(texts.text(_FILES["cpuinfo"]) or ""))))
    return tuple(sorted(set.intersection(*known)))


def _cpu_count(texts: Texts) -> int | None:
    present = parse_cpu_list(texts.text(_FILES["present"]) or "")
    return len(present or core_records(texts.text(_FILES["cpuinfo"]) or "")) or None


def read_policies(tree: Tree) -> tuple[Policy, ...]:
    """Returns the cpufreq policies (Documentation/admin-guide/pm/cpufreq.rst); none in most virtual machines."""
    folder = f"{_CPUS}/cpufreq"
    files = ("scaling_governor", "cpuinfo_max_freq", "scaling_min_freq", "scaling_max_freq", "scaling_cur_freq")
    names = tree.names(folder, r"policy\d+")
    texts = tree.read(f"{folder}/{name}/{file}" for name in names for file in files)

    def khz(name: str, file: str) -> int | None:
        number = texts.number(f"{folder}/{name}/{file}")
        return None if number is None else int(number)

    return tuple(
        Policy(
            name,
            _printable_or_none(texts.text(f"{folder}/{name}/{files[0]}")),
            *(khz(name, file) for file in files[1:]),
        )
        for name in names
    )


def parse_cpu_list(text: str) -> tuple[int, ...] | None:
    """Parses the kernel's notation for CPU lists (`0-3,6`); None if it is something else."""
    if not re.fullmatch(r"\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*", text.strip(), re.ASCII):
        return None
    cpus: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        cpus.extend(range(int(first), int(last or first) + 1))
    return tuple(cpus)


def parse_meminfo(text: str) -> Mapping[str, int]:
    """Parses /proc/meminfo: KiB by name."""
    return {
        match[1]: int(match[2]) for match in re.finditer(r"^(\w+):\s+(\d{1,18}) kB$", text, re.MULTILINE | re.ASCII)
    }


def _printable_or_none(text: str | None) -> str | None:
    return printable(text) or None if text else None


def _meminfo(texts: Texts, key: str) -> int | None:
    return parse_meminfo(texts.text(_FILES["meminfo"]) or "").get(key)


def _board(texts: Texts) -> str | None:
    model = device_tree_text(texts, "model")
    dmi = " ".join(filter(None, (texts.text(_FILES["vendor"]), texts.text(_FILES["product"]))))
    return _printable_or_none(model or dmi)


def _os_build(os_release: str) -> str | None:
    """Returns the name, version and build of the system from os-release(5)."""
    lines = (line.partition("=") for line in os_release.splitlines())
    values = {key.strip(): value.strip().strip("\"'") for key, _, value in lines}
    return _printable_or_none(
        " ".join(values[key] for key in ("PRETTY_NAME", "VERSION_ID", "BUILD_ID") if values.get(key))
    )


def _virtual_machine(texts: Texts, features: str) -> str | None:
    """Returns the evidence that this is a virtual machine, None if there is none."""
    hypervisor = texts.text(_FILES["hypervisor"])
    if hypervisor:
        return printable(hypervisor, 80)
    maker = [texts.text(_FILES[key]) for key in ("vendor", "product")]
    for text in (*maker, device_tree_text(texts, "model"), device_tree_text(texts, "compatible")):
        if text and _VIRTUAL_MACHINES.search(text):
            return printable(text, 80)
    return "hypervisor flag of the processor" if "hypervisor" in features.split() else None
