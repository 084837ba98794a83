"""What makes a twin a board: its processor and kernel, its /sys and /proc, its own commands.

The layouts are those of the kernels and tools of the boards: cpufreq and thermal of Documentation/ABI, INA3221 of
NVIDIA's 4.9 kernel (iio) and of the mainline driver (hwmon), `vcgencmd` as Raspberry Pi documents it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.support.twins.twin_processors import NANO, PI_4, PI_5, THIS_HOST, Processor

_CPUS = "sys/devices/system/cpu"


@dataclass(frozen=True)
class Board:
    """`files` are texts by path; `commands` are shell scripts by path. `memory_kib` is what /proc/meminfo says."""

    kind: str
    model: str
    processor: Processor
    kernel: str
    memory_kib: int
    files: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=dict)

    def on_this_host(self) -> Board:
        """The same board with the host's own processor: much faster, for what doesn't depend on the processor."""
        return replace(self, processor=THIS_HOST)

    def place(self, root: Path) -> None:
        """Writes everything into a root."""
        for name, text in (self._common() | dict(self.files)).items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for name, script in self.commands.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"#!/bin/sh\n{script}")
            path.chmod(0o755)

    def _common(self) -> dict[str, str]:
        cores = f"0-{self.processor.cores - 1}\n"
        free_kib = self.memory_kib * 3 // 4
        return {
            **{f"{_CPUS}/{name}": cores for name in ("possible", "present", "online")},
            f"{_CPUS}/cpufreq/policy0/scaling_governor": "performance\n",
            f"{_CPUS}/cpufreq/policy0/cpuinfo_max_freq": "1479000\n",
            f"{_CPUS}/cpufreq/policy0/scaling_min_freq": "1479000\n",
            f"{_CPUS}/cpufreq/policy0/scaling_max_freq": "1479000\n",
            f"{_CPUS}/cpufreq/policy0/scaling_cur_freq": "1479000\n",
            "sys/firmware/devicetree/base/model": f"{self.model}\0",
            "proc.d/cpuinfo": self.processor.cpuinfo(),
            "proc.d/meminfo": (
                f"MemTotal:       {self.memory_kib} kB\nMemFree:        {free_kib} kB\n"
                f"MemAvailable:   {free_kib} kB\nSwapTotal:      0 kB\nSwapFree:       0 kB\n"
            ),
        }


def _zone(number: int, name: str, millidegrees: int) -> dict[str, str]:
    folder = f"sys/class/thermal/thermal_zone{number}"
    return {f"{folder}/type": f"{name}\n", f"{folder}/temp": f"{millidegrees}\n"}


_OLD_INA = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
_NEW_INA = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
_NVPMODEL = 'echo "NV Power Mode: MAXN"\necho 0\n'

JETSON_NANO = Board(
    "jetson",
    "NVIDIA Jetson Nano Developer Kit",
    NANO,
    "4.9.337-tegra",
    4_059_000,
    files={
        **_zone(0, "AO-therm", 41_500),
        **_zone(1, "CPU-therm", 38_000),
        **_zone(2, "GPU-therm", 37_500),
        f"{_OLD_INA}/rail_name_0": "POM_5V_IN\n",
        f"{_OLD_INA}/rail_name_1": "POM_5V_GPU\n",
        f"{_OLD_INA}/rail_name_2": "POM_5V_CPU\n",
        f"{_OLD_INA}/in_power0_input": "2100\n",
        f"{_OLD_INA}/in_power1_input": "40\n",
        f"{_OLD_INA}/in_power2_input": "500\n",
        "etc/nv_tegra_release": "# R32 (release), REVISION: 7.4, BOARD: t210ref, EABI: aarch64\n",
    },
    commands={"usr/sbin/nvpmodel": _NVPMODEL},
)

JETSON_ORIN = Board(
    "jetson",
    "NVIDIA Jetson Orin Nano Developer Kit",
    PI_5,  # the emulator has no Cortex-A78AE; the A76 has the same arithmetic
    "5.15.148-tegra",
    7_800_000,
    files={
        **_zone(0, "cpu-thermal", 45_000),
        **_zone(1, "gpu-thermal", 44_000),
        f"{_NEW_INA}/name": "ina3221\n",
        f"{_NEW_INA}/in1_label": "VDD_IN\n",
        f"{_NEW_INA}/in2_label": "VDD_CPU_GPU_CV\n",
        f"{_NEW_INA}/in3_label": "VDD_SOC\n",
        f"{_NEW_INA}/in1_input": "5000\n",
        f"{_NEW_INA}/in2_input": "5000\n",
        f"{_NEW_INA}/in3_input": "5000\n",
        f"{_NEW_INA}/curr1_input": "900\n",
        f"{_NEW_INA}/curr2_input": "120\n",
        f"{_NEW_INA}/curr3_input": "240\n",
        f"{_NEW_INA}/in7_label": "sum of shunt voltages\n",
        f"{_NEW_INA}/in7_input": "7\n",
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, BOARD: generic, EABI: aarch64\n",
    },
    commands={"usr/sbin/nvpmodel": _NVPMODEL.replace("MAXN", "15W")},
)

# Answers come from files of the root, so that a test can change what the firmware reports.
_VCGENCMD = """\
folder=/var/lib/twin-firmware
case "$1" in
    measure_clock) file=$folder/measure_clock.$2 ;;
    *) file=$folder/$1 ;;
esac
if [ -r "$file" ]; then cat "$file"; else echo 'error=1 error_msg="Command not registered"'; exit 255; fi
"""
_FIRMWARE = "var/lib/twin-firmware"

RASPBERRY_PI_4 = Board(
    "raspberrypi",
    "Raspberry Pi 4 Model B Rev 1.5",
    PI_4,
    "6.6.51+rpt-rpi-v8",
    3_880_000,
    files={
        **_zone(0, "cpu-thermal", 47_000),
        f"{_FIRMWARE}/get_throttled": "throttled=0x0\n",
        f"{_FIRMWARE}/measure_temp": "temp=47.2'C\n",
        f"{_FIRMWARE}/measure_clock.arm": "frequency(48)=1800404352\n",
    },
    commands={"usr/bin/vcgencmd": _VCGENCMD},
)

RASPBERRY_PI_5 = Board(
    "raspberrypi",
    "Raspberry Pi 5 Model B Rev 1.0",
    PI_5,
    "6.6.51+rpt-rpi-2712",
    8_060_000,
    files={
        **RASPBERRY_PI_4.files,
        f"{_FIRMWARE}/measure_clock.arm": "frequency(0)=2400033792\n",
        f"{_FIRMWARE}/pmic_read_adc": (
            "    VDD_CORE_A current(7)=1.50000000A\n    3V3_SYS_A current(1)=0.10000000A\n"
            "    VDD_CORE_V volt(15)=0.80000000V\n    3V3_SYS_V volt(9)=3.30000000V\n"
        ),
    },
    # A link that is made when mawk is installed, but not when it is unpacked.
    commands={"usr/bin/vcgencmd": _VCGENCMD, "usr/bin/awk": 'exec mawk "$@"\n'},
)

# Properties and the services' output come from files of the root, so that a test can change them.
_ANDROID = "var/lib/twin-android"
_GETPROP = f"""\
if [ $# -eq 0 ]; then sed 's/^\\([^=]*\\)=\\(.*\\)$/[\\1]: [\\2]/' /{_ANDROID}/properties; exit; fi
sed -n "s/^$1=//p" /{_ANDROID}/properties | head -n 1 | grep . || echo "$2"
"""
_DUMPSYS = f"""\
if [ -r "/{_ANDROID}/dumpsys/$1" ]; then cat "/{_ANDROID}/dumpsys/$1"; else echo "Can't find service: $1"; fi
"""
_BATTERY = "sys/class/power_supply/battery"


def _policy(core: int, largest_khz: int) -> dict[str, str]:
    policy, own = f"{_CPUS}/cpufreq/policy{core}", f"{_CPUS}/cpu{core}/cpufreq"
    limits = {"cpuinfo_max_freq": largest_khz, "scaling_max_freq": largest_khz, "scaling_min_freq": 300_000}
    texts = {name: f"{value}\n" for name, value in limits.items()} | {
        "scaling_cur_freq": f"{largest_khz}\n",
        "scaling_governor": "schedutil\n",
        "related_cpus": f"{core}\n",
        "affected_cpus": f"{core}\n",
    }
    return {f"{folder}/{name}": text for folder in (policy, own) for name, text in texts.items()}


# One little core and one big one: pinning uses the host's affinity, and every host has two cores.
ANDROID_PHONE = Board(
    "android",
    "Pixel 8 (twin)",
    replace(PI_5, cores=2),
    "5.15.137-android14-11-gb572b1a8c0d3",
    7_700_000,
    files={
        **_policy(0, 1_704_000),
        **_policy(1, 2_914_000),
        **_zone(0, "BIG", 43_000),
        **_zone(1, "LITTLE", 41_000),
        **_zone(2, "battery", 30_500),
        f"{_BATTERY}/type": "Battery\n",
        f"{_BATTERY}/current_now": "-412000\n",
        f"{_BATTERY}/voltage_now": "4102000\n",
        f"{_BATTERY}/temp": "305\n",
        f"{_BATTERY}/capacity": "81\n",
        f"{_BATTERY}/status": "Discharging\n",
        f"{_ANDROID}/properties": (
            "ro.product.model=Pixel 8\nro.product.manufacturer=Google\nro.product.device=shiba\n"
            "ro.build.version.release=14\nro.build.version.sdk=34\nro.soc.model=Tensor G3\n"
            "ro.build.fingerprint=google/shiba/shiba:14/AP2A.240905.003/12231197:user/release-keys\n"
            "ro.product.cpu.abi=arm64-v8a\nro.serialno=TWIN0001\nsys.boot_completed=1\n"
        ),
        f"{_ANDROID}/dumpsys/battery": (
            "Current Battery Service state:\n  AC powered: false\n  USB powered: false\n  Wireless powered: false\n"
            "  Dock powered: false\n  Max charging current: 0\n  Charge counter: 3512000\n  status: 3\n  health: 2\n"
            "  present: true\n  level: 81\n  scale: 100\n  voltage: 4102\n  temperature: 305\n  technology: Li-ion\n"
        ),
        f"{_ANDROID}/dumpsys/thermalservice": (
            "IsStatusOverride: false\nThermalEventListeners:\n\tcallbacks: 2\n\tkilled: false\nThermal Status: 0\n"
            "Cached temperatures:\n"
            "\tTemperature{mValue=30.5, mType=2, mName=battery, mStatus=0}\n"
            "\tTemperature{mValue=43.0, mType=0, mName=BIG, mStatus=0}\nHAL Ready: true\n"
        ),
    },
    commands={"system/bin/getprop": _GETPROP, "system/bin/dumpsys": _DUMPSYS},
)
