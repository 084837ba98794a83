"""ExecuTorch's error codes: their names, and which of them mean that a device cannot execute a program.

Source: `executorch/runtime/core/error.h` of the pinned wheel; a test compares this table with that file.
"""

from __future__ import annotations

from enum import IntEnum


class ExecuTorchError(IntEnum):
    """`executorch::runtime::Error`."""

    Ok = 0x00
    Internal = 0x01
    InvalidState = 0x02
    EndOfMethod = 0x03
    AlreadyLoaded = 0x04
    NotSupported = 0x10
    NotImplemented = 0x11
    InvalidArgument = 0x12
    InvalidType = 0x13
    OperatorMissing = 0x14
    RegistrationExceedingMaxKernels = 0x15
    RegistrationAlreadyRegistered = 0x16
    NotFound = 0x20
    MemoryAllocationFailed = 0x21
    AccessFailed = 0x22
    InvalidProgram = 0x23
    InvalidExternalData = 0x24
    OutOfResources = 0x25
    DelegateInvalidCompatibility = 0x30
    DelegateMemoryAllocationFailed = 0x31
    DelegateInvalidHandle = 0x32


#: The runtime on this device lacks what the program needs: an operator, a type, a delegate of that version. (At load,
#: `NotFound` says the same of the delegate itself: not registered, or it refused to start on this hardware.)
UNSUPPORTED = frozenset(
    {
        ExecuTorchError.NotSupported,
        ExecuTorchError.NotImplemented,
        ExecuTorchError.OperatorMissing,
        ExecuTorchError.DelegateInvalidCompatibility,
    }
)

OUT_OF_MEMORY = frozenset(
    {
        ExecuTorchError.MemoryAllocationFailed,
        ExecuTorchError.OutOfResources,
        ExecuTorchError.DelegateMemoryAllocationFailed,
    }
)

#: XNNPACK reports a CPU that lacks an instruction set (fp16 arithmetic, for one) by this status in its log, while
#: ExecuTorch's own code is only `Internal`.
UNSUPPORTED_HARDWARE_MARK = "xnn_status_unsupported_hardware"


def parse_code(text: str | None) -> int | None:
    """The number in a code such as "0x14"; None when there is none or it is no code."""
    if text is None or len(text) > 12:
        return None
    try:
        return int(text, 16)
    except ValueError:
        return None


def describe(code: int) -> str:
    """Number and name, as in "0x14 OperatorMissing"."""
    try:
        return f"0x{code:02x} {ExecuTorchError(code).name}"
    except ValueError:
        return f"0x{code:02x} (not a known ExecuTorch error)"


def means_unsupported(code: int | None, stage: str | None, log: str) -> bool:
    """Whether a failed program says that this device cannot execute it, rather than that something went wrong.

    `stage` is the runner's stage; `log` is what the runtime wrote. `NotFound` counts at load only: later it is
    a missing input or state, which is our mistake.
    """
    if code in UNSUPPORTED:
        return True
    if code == ExecuTorchError.NotFound and stage == "load":
        return True
    return code == ExecuTorchError.Internal and UNSUPPORTED_HARDWARE_MARK in log
