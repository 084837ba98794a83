"""Measures the cost of transports, on loopback: `python -m benchmarks.remote [ssh|adb|first-step|fleet ...]`.

`ssh`, `adb`: connect and command latency, and a deploy (written through to the disk and hashed there) against `scp` or
`adb push` of the same file; `adb` needs root and what `make twins` installs.
`first-step`: from the start of `suite run` to the first step of a device over SSH, when nothing has to be exported
or pushed. `fleet`: one local twin against 32 of them at once, wall time and processor time.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.timing import latency, throughput
from devices.deployment.deploy import DeployFile, deploy
from devices.transports.adb.link import adb_transport
from devices.transports.adb.server import adb_program
from devices.transports.ssh.link import ssh_transport
from devices.transports.transport import Transport
from tests.support.devices.loopback_adbd import LoopbackAdbd
from tests.support.devices.loopback_sshd import LoopbackSshd

_COPY_MB = 200
_FLEET = 32
_RUN = ("--model", "tiny", "-T", "32", "-b", "2", "-q", "2", "--quant", "fp32", "--quick")


def ssh(folder: Path) -> None:
    """Compares latency and throughput with OpenSSH's own client."""
    server = LoopbackSshd(folder / "server")
    server.start()
    try:
        latency("connect and close", lambda: ssh_transport(server.entry()).close(), 15)
        transport = ssh_transport(server.entry())
        latency("a command", lambda: transport.run(["true"], timeout_s=20), 40)
        latency("a look at a file", lambda: transport.exists("/"), 40)
        options = ["-q", "-F", "none", "-i", str(server.client_key), "-o", "StrictHostKeyChecking=no"]
        options += ["-o", f"UserKnownHostsFile={folder}/known"]
        there = ["ssh", *options, "-p", str(server.port), "127.0.0.1", "true"]
        latency("ssh true", lambda: subprocess.run(there, check=True), 15)
        file, copy = _file(folder), folder / "copy"
        scp = ["scp", *options, "-P", str(server.port), str(file.source), f"127.0.0.1:{copy}"]
        _deploys(transport, file, folder / "target")
        throughput("scp", _COPY_MB, lambda: subprocess.run(scp, check=True), copy.unlink)
        transport.close()
    finally:
        server.kill()


def adb(folder: Path) -> None:
    """Compares latency and throughput with adb's own client."""
    phone = LoopbackAdbd(folder / "phone")
    try:
        phone.start()
        client = [adb_program(), "-P", str(phone.server.port), "-s", phone.address]
        latency("connect and close", lambda: adb_transport(phone.entry(), server=phone.server).close(), 15)
        transport = adb_transport(phone.entry(), server=phone.server)
        latency("a command", lambda: transport.run(["true"], timeout_s=20), 40)
        latency("a look at a file", lambda: transport.exists("/"), 40)
        latency("adb shell true", lambda: subprocess.run([*client, "shell", "true"], check=True), 15)
        file, copy = _file(folder), folder / "copy"
        push = [*client, "push", "-Z", str(file.source), str(copy)]  # random data, as compression only costs time
        _deploys(transport, file, folder / "target")
        throughput("adb push", _COPY_MB, lambda: subprocess.run(push, check=True, capture_output=True), copy.unlink)
        transport.close()
    finally:
        phone.close()


def _file(folder: Path) -> DeployFile:
    source = folder / "program"
    source.write_bytes(os.urandom(_COPY_MB * 10**6))
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    return DeployFile(source, source.name, digest, source.stat().st_size)


def _deploys(transport: Transport, file: DeployFile, target: Path) -> None:
    throughput("deploy", _COPY_MB, lambda: deploy(transport, [file], str(target)), lambda: shutil.rmtree(target))


def first_step(folder: Path) -> None:
    """Times the first step, over SSH, with everything in the caches."""
    server = LoopbackSshd(folder / "server")
    server.start()
    try:
        entry = (
            f"{{kind: linux, host: 127.0.0.1, port: {server.port}, key_file: {server.client_key}, "
            f'host_keys: ["{server.host_key_text}"], workdir: {server.folder}/work}}'
        )
        (folder / "inventory.yaml").write_text(f"devices:\n  board: {entry}\n")
        _suite(folder)
        logs = folder / "home" / "runs"
        before = set(logs.glob("*/*.jsonl"))
        for _ in range(3):
            begin_s = time.perf_counter()
            with _start(folder) as process:
                while process.poll() is None and not _stepped(set(logs.glob("*/*.jsonl")) - before):
                    time.sleep(0.005)
                print(f"{'suite run to the first step':34} {time.perf_counter() - begin_s:.2f} s")
                process.wait()
            before = set(logs.glob("*/*.jsonl"))
    finally:
        server.kill()


def fleet(folder: Path) -> None:
    """Runs one local twin, then 32 at once."""
    for count in (1, 1, _FLEET):
        devices = "".join(f"  twin{number}: {{kind: local, emulated: true}}\n" for number in range(count))
        (folder / "inventory.yaml").write_text(f"devices:\n{devices}")
        before, begin_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        _suite(folder)
        after, wall_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - begin_s
        used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        count = len(list((folder / "home").glob("device/*/runner")))
        print(f"{f'{count} devices':34} {wall_s:.1f} s, {used_s:.1f} s of processor time, runners included")


def _stepped(logs: set[Path]) -> bool:
    return any('{"event":"step"' in log.read_text() for log in logs)


def _start(folder: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", "from suite.cli.main import main; main()", "run", "--device", "all", *_RUN]
    environ = {**os.environ, "SUITE_HOME": str(folder / "home"), "PYTHONPATH": str(Path(__file__).parents[1])}
    nothing = subprocess.DEVNULL
    return subprocess.Popen(argv, cwd=folder, env=environ, stdout=nothing, stderr=subprocess.PIPE, text=True)


def _suite(folder: Path) -> None:
    """Runs the suite to its end. Exits with its last output if it fails."""
    with _start(folder) as process:
        _, output = process.communicate()
    if process.returncode:
        sys.exit(f"the run left with exit code {process.returncode}: {output[-800:]}")


PARTS: Mapping[str, Callable[[Path], None]] = {"ssh": ssh, "adb": adb, "first-step": first_step, "fleet": fleet}


def main() -> None:
    """Runs the given parts, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.remote", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all of them by default")
    for part in parser.parse_args().parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            PARTS[part](Path(folder))


if __name__ == "__main__":
    main()
