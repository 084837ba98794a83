"""What identifies a device; its fingerprint changes only with what matters."""

from __future__ import annotations

import os
import platform

import pytest

from devices.checks.facts import Facts, parse_cpu_list, parse_meminfo, read_facts, usable_cpus
from devices.sensors.reading import Tree
from devices.transports.local.transport import LocalTransport
from tests.support.devices.made_files import ARM_CORE, X86_CORE, MakeTree

CPUS = "sys/devices/system/cpu"
BASE = {
    "proc/cpuinfo": "\n".join(X86_CORE.format(number=number) for number in range(4)),
    "proc/meminfo": "MemTotal:        8000000 kB\nSwapTotal:       1000000 kB\n",
    "proc/sys/kernel/osrelease": "6.1.0-18-amd64\n",
    "proc/sys/kernel/version": "#1 SMP Debian 6.1.76-1\n",
    "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\n',
    f"{CPUS}/present": "0-3\n",
    f"{CPUS}/online": "0-3\n",
    f"{CPUS}/cpufreq/policy0/scaling_governor": "performance\n",
    f"{CPUS}/cpufreq/policy0/cpuinfo_max_freq": "3200000\n",
    f"{CPUS}/cpufreq/policy0/scaling_max_freq": "3200000\n",
    "sys/class/dmi/id/sys_vendor": "Maker\n",
    "sys/class/dmi/id/product_name": "Box 1\n",
}
PI = {
    "proc/cpuinfo": "\n".join(ARM_CORE.format(number=number) for number in range(4))
    + "\nHardware\t: BCM2835\nModel\t\t: Raspberry Pi 4\n",
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "proc/meminfo": "MemTotal:        3900000 kB\n",
}


@pytest.fixture
def facts(make_tree: MakeTree) -> Facts:
    return read_facts(make_tree(BASE))


def test_identity_of_an_x86_machine(facts: Facts) -> None:
    assert facts.cpu_models == ("Fast CPU 9000 (family 6 model 85 stepping 7)",)
    assert (facts.cpu_count, facts.cpu_features) == (4, ("avx2", "avx512f", "fma", "fpu"))
    assert (facts.board, facts.memory_kib, facts.microcode) == ("Maker Box 1", 8_000_000, "0x5003604")
    assert facts.os_build == "Debian GNU/Linux 12 (bookworm) 12"
    assert (facts.kernel, facts.kernel_build) == ("6.1.0-18-amd64", "#1 SMP Debian 6.1.76-1")
    assert facts.virtual_machine is None
    assert [(policy.governor, policy.hardware_max_khz) for policy in facts.policies] == [("performance", 3_200_000)]


def test_identity_of_a_board_with_arm_cores(make_tree: MakeTree) -> None:
    facts = read_facts(make_tree(PI))
    assert facts.cpu_models == ("Cortex-A72 r0p3",)
    assert (facts.board, facts.cpu_count) == ("Raspberry Pi 4 Model B Rev 1.4", 4)
    assert "asimd" in facts.cpu_features


def test_a_board_without_proc_device_tree_is_known_by_the_tree_itself(make_tree: MakeTree) -> None:
    files = {path: text for path, text in PI.items() if path != "proc/device-tree/model"}
    base = "sys/firmware/devicetree/base"
    facts = read_facts(
        make_tree({**files, f"{base}/model": "Jetson Nano\0", f"{base}/compatible": "linux,dummy-virt\0"})
    )
    assert (facts.board, facts.virtual_machine) == ("Jetson Nano", "linux,dummy-virt")


def test_the_fingerprint_is_stable(facts: Facts, make_tree: MakeTree) -> None:
    assert read_facts(make_tree({})).fingerprint == facts.fingerprint
    assert len(facts.fingerprint) == 64


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("proc/sys/kernel/osrelease", "6.1.0-19-amd64"),
        ("etc/os-release", 'PRETTY_NAME="Debian GNU/Linux 13"'),
        ("proc/meminfo", "MemTotal: 16000000 kB\n"),
        (f"{CPUS}/present", "0-7"),
        (f"{CPUS}/cpufreq/policy0/cpuinfo_max_freq", "2800000"),
        ("sys/class/dmi/id/product_name", "Box 2"),
        ("proc/cpuinfo", X86_CORE.format(number=0).replace("avx512f", "")),
        ("proc/cpuinfo", X86_CORE.format(number=0).replace("0x5003604", "0x5003605")),
    ],
)
def test_what_may_change_performance_changes_the_fingerprint(
    facts: Facts, make_tree: MakeTree, path: str, text: str
) -> None:
    assert read_facts(make_tree({path: text})).fingerprint != facts.fingerprint


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (f"{CPUS}/cpufreq/policy0/scaling_governor", "powersave"),
        (f"{CPUS}/cpufreq/policy0/scaling_max_freq", "1000000"),
        (f"{CPUS}/online", "0-2"),
        ("proc/meminfo", "MemTotal: 7990000 kB\nSwapTotal: 0 kB\n"),
        ("proc/cpuinfo", "\n".join(X86_CORE.format(number=number) for number in range(3))),
    ],
)
def test_transient_state_does_not_change_the_fingerprint(
    facts: Facts, make_tree: MakeTree, path: str, text: str
) -> None:
    assert read_facts(make_tree({path: text})).fingerprint == facts.fingerprint


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("sys/class/dmi/id/sys_vendor", "QEMU"),
        ("proc/device-tree/compatible", "linux,dummy-virt\0"),
        ("sys/hypervisor/type", "xen"),
        ("proc/cpuinfo", X86_CORE.format(number=0).replace("fma", "hypervisor")),
    ],
)
def test_signs_of_a_virtual_machine(make_tree: MakeTree, path: str, text: str) -> None:
    assert read_facts(make_tree(BASE | {path: text})).virtual_machine is not None


def test_a_bare_device_has_empty_facts_instead_of_guesses(make_tree: MakeTree) -> None:
    facts = read_facts(make_tree({}))
    assert facts.machine == platform.machine()
    assert (facts.board, facts.cpu_models, facts.cpu_count, facts.memory_kib, facts.kernel) == (
        None,
        (),
        None,
        None,
        None,
    )


def test_text_of_the_device_cannot_control_the_terminal(make_tree: MakeTree) -> None:
    facts = read_facts(make_tree({"sys/class/dmi/id/product_name": "\x1b[2JBox\x07\n"}))
    assert facts.board == "\N{REPLACEMENT CHARACTER}[2JBox\N{REPLACEMENT CHARACTER}"


def test_facts_of_this_machine_as_a_document(transport: LocalTransport) -> None:
    facts = read_facts(Tree(transport))
    document = facts.as_document()
    assert document["fingerprint"] == facts.fingerprint
    assert document["machine"] == platform.machine()
    assert document["memory_kib"] > 0


@pytest.mark.parametrize(
    ("text", "cpus"), [("0", (0,)), ("0-2,5\n", (0, 1, 2, 5)), ("", None), ("x", None), ("0-", None), ("-1", None)]
)
def test_kernel_cpu_lists(text: str, cpus: tuple[int, ...] | None) -> None:
    assert parse_cpu_list(text) == cpus


def test_meminfo_lines_that_are_not_memory_are_left_out() -> None:
    assert parse_meminfo("MemTotal:  12 kB\nHugePages_Total:  3\ngarbage\n") == {"MemTotal": 12}


@pytest.mark.parametrize(
    ("online", "status", "cpus"),
    [
        ("0-3", "Cpus_allowed:\tf\nCpus_allowed_list:\t0-3\n", (0, 1, 2, 3)),
        ("0-3", "Cpus_allowed_list:\t1\nMems_allowed_list:\t0\n", (1,)),  # a container, or `taskset -c 1`
        ("0,2", "Cpus_allowed_list:\t0-3\n", (0, 2)),  # a power mode switched cores off
        ("0-1", "Cpus_allowed_list:\t1-3\n", (1,)),
        ("0-1", "Name:\tcat\n", (0, 1)),
        ("", "Cpus_allowed_list:\t2-3\n", (2, 3)),
        ("", "", (0, 1, 2, 3)),  # those of /proc/cpuinfo
    ],
)
def test_a_program_may_run_on_cores_that_are_online_and_allowed(
    make_tree: MakeTree, online: str, status: str, cpus: tuple[int, ...]
) -> None:
    assert usable_cpus(make_tree(BASE | {f"{CPUS}/online": online, "proc/self/status": status})) == cpus


def test_a_device_that_does_not_report_its_cores_has_no_known_ones(make_tree: MakeTree) -> None:
    assert usable_cpus(make_tree({})) == ()


def test_this_process_may_run_on_the_cores_of_its_affinity() -> None:
    assert usable_cpus(Tree(LocalTransport())) == tuple(sorted(os.sched_getaffinity(0)))
