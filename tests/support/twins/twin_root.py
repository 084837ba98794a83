"""A small Debian in a folder: OpenSSH, coreutils and a shell, with a user who can log in."""

from __future__ import annotations

import functools
from pathlib import Path

from tests.support.twins.twin_needs import need_programs, need_programs_of, need_root
from tests.support.twins.twin_packages import cached, copy_tree, debian_architecture, run_tool, unpack_debian

RELEASE = "bookworm"
USER, USER_ID = "bench", 1000
PASSWORD = "correct horse"  # noqa: S105 - of a machine that lives for one test, on loopback
_PACKAGES = (
    *("openssh-server", "openssh-sftp-server", "busybox-static", "libstdc++6", "dash", "bash", "coreutils"),
    *("util-linux", "procps", "grep", "sed", "findutils"),
)
BUSYBOX_TOOLS = [
    "basename",
    "cat",
    "chmod",
    "chown",
    "cp",
    "cut",
    "date",
    "dd",
    "df",
    "dirname",
    "du",
    "echo",
    "env",
    "expr",
    "false",
    "find",
    "free",
    "grep",
    "head",
    "hostname",
    "id",
    "kill",
    "ln",
    "ls",
    "md5sum",
    "mkdir",
    "mknod",
    "mktemp",
    "mv",
    "nice",
    "nohup",
    "nproc",
    "od",
    "pgrep",
    "pidof",
    "pkill",
    "printf",
    "ps",
    "pwd",
    "readlink",
    "realpath",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "setsid",
    "sh",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "sync",
    "tail",
    "tar",
    "taskset",
    "tee",
    "test",
    "timeout",
    "touch",
    "tr",
    "true",
    "uname",
    "uniq",
    "uptime",
    "wc",
    "which",
    "xargs",
    "yes",
]
_UNUSED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/cache", "etc/ssh/moduli")
_VERSION = 1

_FILES = {
    "etc/passwd": (
        "root:x:0:0:root:/root:/bin/bash\n"
        "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
        f"{USER}:x:{USER_ID}:{USER_ID}::/home/{USER}:/bin/bash\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    ),
    "etc/group": f"root:x:0:\ntty:x:5:\n{USER}:x:{USER_ID}:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/os-release": 'PRETTY_NAME="Twin of a board"\nID=debian\nVERSION_ID="12"\n',
}


def new_root(destination: Path, machine: str = "aarch64") -> Path:
    """Makes a fresh copy of the root, to be changed at will. Skips the test where that is impossible."""
    need_root()
    need_programs("mmdebstrap", "arch-test", "openssl", "unshare", "nsenter", "setpriv")
    need_programs_of(machine)
    copy_tree(root_template(machine), destination)
    return destination


def place_busybox_tools(folder: Path) -> None:
    """Puts links to busybox into a folder of a root: it is static, and starts three times as fast under emulation."""
    folder.mkdir(parents=True, exist_ok=True)
    for tool in BUSYBOX_TOOLS:
        (folder / tool).symlink_to("/usr/bin/busybox")


@functools.cache
def root_template(machine: str = "aarch64") -> Path:
    """The root that is copied for each twin; made if it is not in the cache. Skips where that is impossible."""
    recipe = {"version": _VERSION, "release": RELEASE, "packages": _PACKAGES, "files": _FILES, "unused": _UNUSED}
    return cached(f"root-{machine}", recipe, functools.partial(_make, machine)) / "root"


def _make(machine: str, folder: Path) -> None:
    root = folder / "root"
    unpack_debian(root, RELEASE, _PACKAGES, debian_architecture(machine), _UNUSED)
    for name, text in _FILES.items():
        (root / name).write_text(text)
    hashed = run_tool("openssl", "passwd", "-6", "-stdin", stdin=PASSWORD).strip()
    shadow = root / "etc/shadow"
    shadow.write_text(f"root:*:19000::::::\nsshd:!:19000::::::\n{USER}:{hashed}:19000:0:99999:7:::\n")
    shadow.chmod(0o600)
    (root / "root").chmod(0o700)
    (root / "run/sshd").mkdir(mode=0o755)
    home = root / "home" / USER
    home.mkdir()
    run_tool("chown", f"{USER_ID}:{USER_ID}", str(home))
