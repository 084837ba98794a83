"""adbd for this host's own processor: Debian's, unpacked, and started without being installed."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

from tests.support.twins.twin_needs import need_programs
from tests.support.twins.twin_packages import cached, debian_architecture, unpack_debian

_RELEASE, _PACKAGES = "trixie", ("adbd",)
_UNUSED = ("usr/share", "var/cache")


@functools.cache
def adbd_root() -> Path:
    """adbd with its libraries; made if it is not in the cache. Skips where that is impossible."""
    need_programs("mmdebstrap")
    architecture = debian_architecture(platform.machine())
    recipe = {"release": _RELEASE, "packages": _PACKAGES, "architecture": architecture, "unused": _UNUSED}

    def make(folder: Path) -> None:
        unpack_debian(folder / "root", _RELEASE, _PACKAGES, architecture, _UNUSED)

    return cached("adbd", recipe, make) / "root"


def adbd_command() -> list[str]:
    """Starts it by its own loader, as it needs a newer C library than the host may have."""
    libraries = adbd_root() / "usr/lib" / f"{platform.machine()}-linux-gnu"
    (loader,) = libraries.glob("ld-linux-*.so.*")
    adbd = adbd_root() / "usr/lib/android-sdk/platform-tools/adbd"
    return [str(loader), "--library-path", f"{libraries}:{libraries / 'android'}", str(adbd)]
