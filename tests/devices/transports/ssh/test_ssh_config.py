"""`host` as an alias of the user's OpenSSH configuration, read as ssh reads it; host keys stay as strict as ever."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devices.access.enrollment import enroll
from devices.errors import AccessRefused, HostKeyRefused
from devices.inventory.entry import DeviceEntry
from devices.transports.ssh import authentication
from devices.transports.ssh.authentication import load_private_key
from devices.transports.ssh.endpoint import Endpoint, endpoints, host_key_text
from devices.transports.ssh.link import ssh_transport
from tests.support.devices.loopback_sshd import LoopbackSshd, make_key

Configure = Callable[[str], None]


@pytest.fixture(autouse=True)
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Writes the user's configuration, and hides that of whoever runs the tests."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    for name in ("SSH_AUTH_SOCK", "SSH_AGENT_PID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(authentication, "_ANSWERS", {})
    monkeypatch.setattr("sys.stdin", None)

    def write(text: str) -> None:
        (home / ".ssh" / "config").write_text(text)

    return write


@pytest.fixture(params=["ssh", "paramiko"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a test with the host's ssh, and as on a host without one."""
    if request.param == "paramiko":
        monkeypatch.setattr("devices.transports.ssh.endpoint.shutil.which", lambda _name: None)


@pytest.fixture(scope="module")
def bastion(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackSshd]:
    """A second server, with keys of its own."""
    with LoopbackSshd(tmp_path_factory.mktemp("bastion")) as server:
        yield server


def entry(host: str = "board", **values: Any) -> DeviceEntry:
    plain = {"name": "board", "kind": "linux", "transport": "ssh", "workdir": "/w", "host": host}
    return DeviceEntry.model_validate(plain | values)


def brief(endpoint: Endpoint) -> tuple[str, str, int]:
    return endpoint.user, endpoint.host, endpoint.port


@pytest.mark.usefixtures("reader")
def test_an_alias_gives_address_user_port_and_keys(configure: Configure, tmp_path: Path) -> None:
    configure(
        "Host board other\n  HostName 10.0.0.9\n  User pi\n  Port=2222\n  IdentityFile ~/.ssh/id_board\n"
        '  IdentityFile "%d/of-%r"\n  IdentitiesOnly yes\nHost *\n  User nobody\n'
    )
    (found,) = endpoints(entry())
    home = tmp_path / "home"
    assert brief(found) == ("pi", "10.0.0.9", 2222)
    assert found.usual_keys == (home / ".ssh" / "id_board", home / "of-pi")
    assert found.only_usual_keys
    assert brief(endpoints(entry("10.1.1.1"))[0]) == ("nobody", "10.1.1.1", 22)
    assert endpoints(entry("10.1.1.1"))[0].usual_keys is None


@pytest.mark.usefixtures("reader")
def test_the_inventory_takes_precedence(configure: Configure) -> None:
    configure("Host board\n  HostName 10.0.0.9\n  User pi\n  Port 2222\n")
    assert brief(endpoints(entry(user="me", port=22))[0]) == ("me", "10.0.0.9", 22)
    assert brief(endpoints(entry("me@board"))[0]) == ("me", "10.0.0.9", 2222)


@pytest.mark.usefixtures("reader")
def test_included_files_and_matches_count(configure: Configure, tmp_path: Path) -> None:
    folder = tmp_path / "home" / ".ssh" / "conf.d"
    folder.mkdir()
    (folder / "lab.conf").write_text("Host board\n  HostName 10.0.0.9\n")
    configure(
        "Include conf.d/*.conf missing\nMatch host 10.0.0.9 user pi\n  Port 2222\nMatch originalhost board\n  User pi\n"
    )
    assert brief(endpoints(entry(user="pi"))[0]) == ("pi", "10.0.0.9", 2222)


def test_without_a_configuration_a_host_is_itself(tmp_path: Path) -> None:
    assert endpoints(entry("10.0.0.9", user="pi"))[0].host == "10.0.0.9"
    assert endpoints(entry("fe80::1%eth0", user="pi"))[0].host == "fe80::1%eth0"


@pytest.mark.usefixtures("reader")
def test_jumps_are_the_servers_on_the_way(configure: Configure) -> None:
    configure(
        "Host board\n  HostName 10.0.0.9\n  User pi\n  ProxyJump admin@outer:2200,inner\n"
        "Host outer\n  HostName 192.0.2.1\n  User ignored\n  ProxyJump first\nHost inner\n  HostName 10.0.0.1\n"
        "  ProxyJump nobody-asks-for-this\n  User in\nHost first\n  HostName 192.0.2.9\n  User f\n"
    )
    way = endpoints(entry())
    assert [brief(one) for one in way] == [
        ("f", "192.0.2.9", 22),
        ("admin", "192.0.2.1", 2200),
        ("in", "10.0.0.1", 22),
        ("pi", "10.0.0.9", 22),
    ]
    assert [one.is_jump for one in way] == [True, True, True, False]
    own = endpoints(entry(jump={"host": "x@192.0.2.7"}))
    assert [brief(one) for one in own] == [("x", "192.0.2.7", 22), ("pi", "10.0.0.9", 22)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n", "goes in a circle (a through b through a)"),
        ("Host a\n  ProxyCommand nc %h %p\n", "by a ProxyCommand, which the suite doesn't support"),
        ("Host a\n  Port twenty\n", "~/.ssh/config can't be used for 'a' ("),
        ("Frobnicate yes\n", "~/.ssh/config can't be used for 'a' ("),
    ],
)
def test_a_configuration_that_cannot_be_followed_is_one_sentence(configure: Configure, text: str, words: str) -> None:
    configure(text)
    with pytest.raises(AccessRefused) as refused:
        endpoints(entry("a"))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_proxy_command_of_none_and_a_jump_of_none_are_none(configure: Configure) -> None:
    configure("Host a\n  ProxyJump none\nHost b\n  ProxyCommand none\nHost *\n  ProxyJump bastion\n")
    assert len(endpoints(entry("a"))) == 1


def test_a_device_is_reached_by_its_alias_through_its_jump_host(
    configure: Configure, sshd: LoopbackSshd, bastion: LoopbackSshd
) -> None:
    configure(
        f"Host board\n  HostName 127.0.0.1\n  Port {sshd.port}\n  IdentityFile ~/.ssh/gone\n"
        f"  IdentityFile {sshd.client_key}\n  ProxyJump bastion\n"
        f"Host bastion\n  HostName 127.0.0.1\n  Port {bastion.port}\n  IdentityFile {bastion.client_key}\n"
    )
    keys = [sshd.host_key_text]
    with pytest.raises(HostKeyRefused, match=r"the jump host of device 'board' .* is not enrolled"):
        ssh_transport(entry(host_keys=keys))
    confirmed: list[tuple[str, str]] = []
    values = enroll(entry(), lambda endpoint, text: confirmed.append((endpoint.alias, text)))
    assert confirmed == [("bastion", bastion.host_key_text), ("board", sshd.host_key_text)]
    assert values == {"host_keys": keys, "jump": {"host": "bastion", "host_keys": [bastion.host_key_text]}}
    transport = ssh_transport(entry(**values))
    assert transport.run(["echo", "hi"], timeout_s=20).stdout == "hi\n"
    assert bastion.connections() >= 1
    transport.close()
    other = host_key_text(load_private_key(make_key(Path(f"{sshd.folder}/another"))))
    with pytest.raises(HostKeyRefused, match=r"the jump host of device 'board' .* but was enrolled with"):
        ssh_transport(entry(host_keys=keys, jump={"host": "bastion", "host_keys": [other]}))
    with pytest.raises(HostKeyRefused, match=r"^device 'board' .* is not enrolled"):
        ssh_transport(entry(jump=values["jump"]))


def test_two_jump_hosts_are_enrolled_one_inside_the_other(
    configure: Configure, sshd: LoopbackSshd, bastion: LoopbackSshd
) -> None:
    configure(
        f"Host board\n  HostName 127.0.0.1\n  Port {sshd.port}\n  ProxyJump bastion,inner\n"
        f"Host bastion\n  HostName 127.0.0.1\n  Port {bastion.port}\n"
        f"Host inner\n  HostName 127.0.0.1\n  Port {sshd.port}\n"
        f"Host *\n  IdentityFile {sshd.client_key}\n  IdentityFile {bastion.client_key}\n"
    )
    values = enroll(entry(), lambda _endpoint, _text: None)
    inner = {"host": "bastion", "host_keys": [bastion.host_key_text]}
    assert values["jump"] == {"host": "inner", "host_keys": [sshd.host_key_text], "jump": inner}
    transport = ssh_transport(entry(**values))
    assert transport.exists("/")
    transport.close()


def test_the_refusal_of_a_login_names_the_alias_that_ssh_knows(
    configure: Configure, sshd: LoopbackSshd, tmp_path: Path
) -> None:
    stranger = make_key(tmp_path / "stranger")
    configure(
        f"Host board\n  HostName 127.0.0.1\n  Port {sshd.port}\n  IdentityFile {stranger}\n  IdentityFile ~/gone\n"
    )
    with pytest.raises(AccessRefused, match=rf"tried: {stranger}; .*gone can't be used .*ssh-copy-id \w+@board`"):
        ssh_transport(entry(host_keys=[sshd.host_key_text]))


@pytest.mark.parametrize(
    ("host", "user", "place", "port"),
    [
        ("pi@10.0.0.9", "pi", "10.0.0.9", None),
        ("pi@10.0.0.9:2222", "pi", "10.0.0.9", 2222),
        ("ssh://pi@board.example:22/", "pi", "board.example", 22),
        ("10.0.0.9:2222", None, "10.0.0.9", 2222),
        ("a@b@board", "a@b", "board", None),
        ("[fe80::1]:2222", None, "fe80::1", 2222),
        ("pi@fe80::1", "pi", "fe80::1", None),
        ("fe80::1", None, "fe80::1", None),
    ],
)
def test_a_host_with_user_and_port_is_split(host: str, user: str | None, place: str, port: int | None) -> None:
    found = entry(host)
    assert (found.user, found.host, found.port) == (user, place, port)
    assert (
        entry("board", jump={"host": host}).jump
        == entry("board", jump={"host": place, "user": user, "port": port}).jump
    )


@pytest.mark.parametrize(
    ("host", "values", "words"),
    [
        ("pi@board", {"user": "me"}, "`host` is 'pi@board', but `user` is 'me'; write the user only once"),
        ("board:22", {"port": 23}, "but `port` is 23; write the port only once"),
        ("@board", {}, "which is not an address"),
        ("pi@", {}, "which is not an address"),
        ("board:ssh", {}, "which is not an address"),
        ("[fe80::1", {}, "which is not an address"),
        ("board:99999", {}, "less than or equal to 65535"),
        ("pi@10.0.0.9", {"transport": "adb", "kind": "android", "workdir": "/w"}, "adb has no users"),
    ],
)
def test_a_host_that_contradicts_itself_is_refused(host: str, values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        entry(host, **values)


def test_ssh_reads_a_configuration_in_the_same_way(configure: Configure, sshd: LoopbackSshd) -> None:
    """What stands in for ssh's own reading must agree with it, where both can say something."""
    assert shutil.which("ssh") is not None
    configure("Host b*\n  HostName %h.example\n  Port 2200\nHost board !boar\n  User pi\n")
    (by_ssh,) = endpoints(entry())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("devices.transports.ssh.endpoint.shutil.which", lambda _name: None)
        (by_paramiko,) = endpoints(entry())
    assert by_ssh == by_paramiko
    assert by_ssh.host == "board.example"
