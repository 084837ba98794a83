"""What a C++ compiler reports, and the loader and libraries that its package brings along for a bundle."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from devices.deployment.built_runner import FOLDER
from foundation.errors import UserError

_PROBE_TIMEOUT_S = 60.0


class RunnerBuildError(UserError):
    """The runner can't be built on this host; the message says what is missing or where the log is."""


def ask(program: Path, *arguments: str) -> str:
    """Returns the output of a compiler or one of its tools. Raises `RunnerBuildError` if it fails."""
    try:
        result = subprocess.run(
            [str(program), *arguments], capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise RunnerBuildError(f"the compiler {program} can't be run ({error}): set CXX to another one.") from error
    return result.stdout.strip()


# The loader's names in the psABIs: what the kernel starts for a program of that machine.
LOADERS = {"aarch64": "ld-linux-aarch64.so.1", "x86_64": "ld-linux-x86-64.so.2"}
_LIBRARIES = ("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "libstdc++.so.6", "libgcc_s.so.1")
_NEEDED = re.compile(r"\(NEEDED\).*\[(.+)\]")


@dataclass(frozen=True)
class SystemLibraries:
    """Files of this host, compiled for the device's machine. `readelf` reads which of them need each other."""

    loader: Path
    libraries: tuple[Path, ...]
    readelf: Path

    def digest(self) -> bytes:
        """Returns a digest of the files' content."""
        digest = hashlib.sha256()
        for path in (self.loader, *self.libraries):
            digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
        return digest.digest()

    def place(self, stage: Path) -> tuple[str, ...]:
        """Copies them beside the runner in `stage` and returns the command that starts it there.

        The command names the loader and its library folder, so that the device's own are not used. Raises
        `RunnerBuildError` if something in `stage` needs a library that isn't there.
        """
        library_folder = stage / "lib"
        library_folder.mkdir(exist_ok=True)
        shutil.copy(self.loader, stage / self.loader.name)
        (stage / self.loader.name).chmod(0o755)
        for path in self.libraries:
            shutil.copy(path, library_folder / path.name)
        self._require_whole(stage, library_folder)
        return (f"{FOLDER}/{self.loader.name}", "--library-path", f"{FOLDER}/lib", f"{FOLDER}/runner")

    def _require_whole(self, stage: Path, library_folder: Path) -> None:
        present = {path.name for path in library_folder.iterdir()} | {self.loader.name}
        for path in (stage / "runner", *sorted(library_folder.iterdir())):
            missing = sorted(set(_NEEDED.findall(ask(self.readelf, "--dynamic", str(path)))) - present)
            if missing:
                raise RunnerBuildError(
                    f"{path.name} needs {', '.join(missing)}, and the bundle has {len(present)} others: "
                    "add what is missing to devices/runner_builds/compiler.py."
                )


def system_libraries(compiler: Path, machine: str, remedy: str) -> SystemLibraries:
    """Returns the libraries that `compiler` links against.

    Raises `RunnerBuildError`, ending with `remedy`, if one is missing.
    """
    loader, *libraries = (_file(compiler, name, remedy) for name in (LOADERS[machine], *_LIBRARIES))
    readelf = shutil.which(ask(compiler, "-print-prog-name=readelf"))
    if readelf is None:
        raise RunnerBuildError(f"{compiler.name} has no readelf beside it: {remedy}.")
    return SystemLibraries(loader, tuple(libraries), Path(readelf))


def _file(compiler: Path, name: str, remedy: str) -> Path:
    # A compiler without the file prints the bare name.
    path = Path(ask(compiler, f"-print-file-name={name}"))
    if not path.is_absolute() or not path.is_file():
        raise RunnerBuildError(f"{compiler.name} has no {name} to put into the bundle: {remedy}.")
    return path.parent.resolve() / name
