"""What must be seen wherever a device or a run is named: that it is emulated, that another lab measured it."""

from reports.escaping import shortened

EMULATED = "emulated"


def badges(emulated: bool, origin: str = "") -> tuple[str, ...]:
    """The words of the badges; ``origin`` is the lab that the numbers came from, empty for this one."""
    return (*((EMULATED,) if emulated else ()), *((f"imported from {shortened(origin, 32)}",) if origin else ()))
