"""Builds the runner and keeps each build in its own folder, ready to be deployed.

A build is named by the hash of everything that determines it: the sources in `devices/runner/`, the version of
executorch, what the compiler reports, and the system's libraries if they are part of it
(`devices.runner_builds.bundle`). A folder `<runner home>/<hash>/` holds the runner, the wheel's libraries it needs in
`lib/` (found through the runner's relative search path), and `runner.json` (`devices.deployment.built_runner`). It
appears under its name only when it is complete.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from devices.deployment.built_runner import FOLDER, MANIFEST, PLAIN_LAUNCH, BuiltRunner, read_built, write_manifest
from foundation.errors import UserError
from foundation.host_tools import find_compiler

_SOURCES = Path(__file__).parents[1] / "runner"
_SCHEMA = 2
_BUILD_TIMEOUT_S = 1800.0
_REPORTED_LINES = 3
_PROBE_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Toolchain:
    """Everything needed to compile for one machine: a compiler, and the root of an executorch wheel for that machine.

    With `system`, a build includes its own loader and C library and needs none on the device.
    """

    compiler: Path
    compiler_version: str  # first line of `--version`
    target: str  # in the compiler's terms: x86_64-linux-gnu
    executorch: Path
    executorch_version: str
    system: SystemLibraries | None = None

    @property
    def machine(self) -> str:
        """The processor, as `uname -m` names it."""
        return self.target.split("-", 1)[0]


def native_toolchain(environ: Mapping[str, str] = os.environ) -> Toolchain:
    """Returns the compiler of this host (`$CXX`, else the usual names) and the installed executorch.

    Raises `UserError` if one of them is missing.
    """
    spec = importlib.util.find_spec("executorch")
    if spec is None or not spec.submodule_search_locations:
        raise RunnerBuildError("executorch is not installed for this Python: run `make run`, which installs it.")
    compiler, executorch = find_compiler("to build the runner", environ), Path(spec.submodule_search_locations[0])
    return toolchain_for(compiler, executorch, importlib.metadata.version("executorch"))


def toolchain_for(compiler: Path, executorch: Path, executorch_version: str) -> Toolchain:
    """Returns a toolchain made of a compiler and an unpacked executorch wheel for the machine it compiles for."""
    version = ask(compiler, "--version").splitlines()
    return Toolchain(
        compiler, version[0] if version else "", ask(compiler, "-dumpmachine"), executorch, executorch_version
    )


def build_hash(toolchain: Toolchain) -> str:
    """Returns 32 hexadecimal digits that change with the sources, executorch and the compiler."""
    digest = hashlib.sha256()
    for part in (str(_SCHEMA), toolchain.executorch_version, toolchain.compiler_version, toolchain.target):
        digest.update(part.encode() + b"\0")
    digest.update(bytes.fromhex(sources_sha256()))
    if toolchain.system is not None:
        digest.update(toolchain.system.digest())
    return digest.hexdigest()[:32]


def sources_sha256() -> str:
    """Returns a sha256 over names and content of the files in `devices/runner/`."""
    digest = hashlib.sha256()
    for source in sorted(path for path in _SOURCES.rglob("*") if path.is_file()):
        digest.update(source.relative_to(_SOURCES).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()


def build_runner(runner_home: Path, toolchain: Toolchain | None = None) -> BuiltRunner:
    """Returns the runner of the current sources from `runner_home`; builds it (about 20 s) unless an intact one exists.

    Of processes that need the same build at the same time, one builds it. Raises `UserError`.
    """
    chosen = toolchain or native_toolchain()
    name = build_hash(chosen)
    try:
        runner_home.mkdir(parents=True, exist_ok=True)
        with FileLock(runner_home / f".{name}.lock"):
            present = read_built(runner_home / name)
            if present is not None:
                return present
            with tempfile.TemporaryDirectory(dir=runner_home, prefix=".building-") as scratch:
                _make_build(chosen, name, Path(scratch), runner_home)
            built = read_built(runner_home / name)
    except OSError as error:
        raise RunnerBuildError(
            f"the runner can't be built in {runner_home} ({error.strerror}, error {error.errno}): "
            "free space there or set SUITE_HOME to another folder."
        ) from error
    if built is None:
        raise RunnerBuildError(f"the build in {runner_home / name} changed during the build: build it again.")
    return built


def compile_sources(toolchain: Toolchain, build_folder: Path, log: Path, options: Mapping[str, str]) -> None:
    """Configures and compiles `devices/runner/` in `build_folder`. `options` are CMake's cache variables.

    Raises `RunnerBuildError` with the last lines of the output; all of it goes to `log`.
    """
    settings = {
        "CMAKE_CXX_COMPILER": str(toolchain.compiler),
        "CMAKE_MAKE_PROGRAM": str(_tool("ninja")),
        "executorch_DIR": str(toolchain.executorch / "share" / "cmake"),
        **options,
    }
    if toolchain.machine != os.uname().machine:
        settings |= {"CMAKE_SYSTEM_NAME": "Linux", "CMAKE_SYSTEM_PROCESSOR": toolchain.machine}
    cmake = str(_tool("cmake"))
    flags = [f"-D{key}={value}" for key, value in settings.items()]
    _run([cmake, "-S", str(_SOURCES), "-B", str(build_folder), "-G", "Ninja", *flags], log)
    _run([cmake, "--build", str(build_folder)], log)


def _make_build(toolchain: Toolchain, name: str, scratch: Path, runner_home: Path) -> None:
    stage, log = scratch / "stage", runner_home / f"{name}.log"
    log.unlink(missing_ok=True)
    if toolchain.system is not None and toolchain.machine == os.uname().machine:
        # The same programs as this host's own, which exist or will be needed, so that nothing is compiled twice.
        plain = build_runner(runner_home, dataclasses.replace(toolchain, system=None))
        shutil.copytree(plain.folder, stage, ignore=shutil.ignore_patterns(MANIFEST))
    else:
        compile_sources(toolchain, scratch / "build", log, {"RUNNER_VERSION": name[:12]})
        _run([str(_tool("cmake")), "--install", str(scratch / "build"), "--prefix", str(stage)], log)
    launch: Sequence[str] = PLAIN_LAUNCH
    if toolchain.system is not None:
        launch = toolchain.system.place(stage)
    facts = {
        "schema": _SCHEMA,
        "hash": name,
        "machine": toolchain.machine,
        "executorch": toolchain.executorch_version,
        "sources": sources_sha256(),
        "compiler": toolchain.compiler_version,
    }
    write_manifest(stage, launch, facts)
    shutil.rmtree(runner_home / name, ignore_errors=True)
    stage.rename(runner_home / name)
    log.unlink(missing_ok=True)


def _tool(name: str) -> Path:
    """Returns cmake or ninja as installed by pip, else from `$PATH`."""
    beside = Path(sysconfig.get_path("scripts")) / name
    if beside.is_file():
        return beside
    found = shutil.which(name)
    if found is None:
        raise RunnerBuildError(f"{name} was not found: install it with `pip install {name}`.")
    return Path(found)


def _run(argv: Sequence[str], log: Path) -> None:
    """Runs a tool and appends its output to `log`."""
    with log.open("ab") as output:
        start = output.tell()
        try:
            result = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=_BUILD_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise RunnerBuildError(
                f"building the runner took more than {_BUILD_TIMEOUT_S:.0f} s and was ended: see {log}."
            ) from error
    if result.returncode != 0:
        lines = log.read_bytes()[start:].decode("utf-8", "replace").splitlines()
        errors = [line.strip() for line in lines if "error" in line.lower()]
        reported = errors[:_REPORTED_LINES] or lines[-_REPORTED_LINES:]
        raise RunnerBuildError(
            f"building the runner failed with exit code {result.returncode}: {' | '.join(reported)} (the log is {log})."
        )


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


# The loader's names in the psABIs: the loader that the kernel starts for a program of that machine.
LOADERS = {"aarch64": "ld-linux-aarch64.so.1", "x86_64": "ld-linux-x86-64.so.2"}
_LIBRARIES = ("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "libstdc++.so.6", "libgcc_s.so.1")
_NEEDED = re.compile(r"\(NEEDED\).*\[(.+)\]")


@dataclass(frozen=True)
class SystemLibraries:
    """Files of this host, compiled for the device's machine. `readelf` lists which of them need each other."""

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
        `RunnerBuildError` if something in `stage` needs a missing library.
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
                    "add the missing ones to devices/runner_builds/build.py."
                )


def system_libraries(compiler: Path, machine: str, remedy: str) -> SystemLibraries:
    """Returns the libraries that `compiler` links against.

    Raises `RunnerBuildError`, whose message ends with `remedy`, if one is missing.
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
