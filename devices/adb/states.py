"""What the states of `adb devices` mean, each in a sentence with what to do on the phone."""

from __future__ import annotations

from collections.abc import Sequence

from devices.adb.server import Listed
from devices.errors import AccessRefused, DeviceError, DeviceLost
from foundation.text import printable

READY = "device"
# Passed through on the way to `device`; they are worth a moment's wait.
PASSING = frozenset({"offline", "connecting", "authorizing", "detached", "unknown"})

UNAUTHORISED = "unauthorized"
AUTHORISE = (
    "unlock it and answer its question 'Allow USB debugging?' with 'Always allow from this computer' (if it doesn't "
    "ask: Developer options, 'Revoke USB debugging authorisations', then reconnect it)"
)
_REFUSALS = {
    "no": "may not be opened by this user (adb: no permissions); install udev rules for it (on Debian the package "
    "android-sdk-platform-tools-common), join the group plugdev and plug it in again",
    "bootloader": "is in its bootloader; start Android on it",
    "recovery": "is in recovery mode; start Android on it",
    "rescue": "is in rescue mode; start Android on it",
    "sideload": "waits for an update to be sideloaded; start Android on it",
    "host": "is an adb server and no device; check `host` and `port` in the inventory",
}
_ENABLE = "on the phone enable Developer options and 'USB debugging' there"


class Unauthorised(AccessRefused):
    """The phone doesn't know this computer's adb key; only its owner can change that, on the phone."""

    def __init__(self, shown: str) -> None:
        super().__init__(f"{shown} has not authorised this computer; {AUTHORISE}, and run again.")


def refusal(shown: str, state: str) -> DeviceError:
    """Why a device in this state can't be used: `AccessRefused` where a person has to act, `DeviceLost` otherwise."""
    if state == UNAUTHORISED:
        return Unauthorised(shown)
    if state in _REFUSALS:
        return AccessRefused(f"{shown} {_REFUSALS[state]}.")
    if state in PASSING:
        return DeviceLost(
            f"{shown} is {state}: adb sees it and it does not answer; unlock it, then unplug it and plug it in again "
            "(over Wi-Fi: switch wireless debugging off and on)."
        )
    return DeviceLost(f"{shown} is in the state {printable(state, 40)!r}, which is not ready; see `adb devices`.")


def unknown(shown: str, listed: Sequence[Listed]) -> DeviceLost:
    """A serial that isn't attached, with what is."""
    there = ", ".join(f"{printable(one.serial, 80)} ({printable(one.state, 20)})" for one in listed[:8])
    rest = f" and {len(listed) - 8} more" if len(listed) > 8 else ""
    found = f"adb has {len(listed)}: {there}{rest}" if listed else "adb has none at all"
    return DeviceLost(
        f"{shown} is not attached ({found}); plug it in, {_ENABLE}, or correct `serial` in the inventory."
    )


def unreachable(shown: str, answer: str) -> DeviceLost:
    """A device in the network that adb could not connect to, with adb's words."""
    return DeviceLost(
        f"{shown} can't be reached over the network ({answer or 'no reason given'}); check that it is on and in the "
        "same network with wireless debugging on (`adb pair` once, or `adb tcpip 5555` over a cable), and `host` and "
        "`port`."
    )
