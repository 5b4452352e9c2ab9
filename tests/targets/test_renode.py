"""The Renode target against a stand-in for Renode; with RENODE set, against Renode itself."""

from __future__ import annotations

import socket
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.devices.learner import Learner
from tinykit.boards import Board, Renode, load_board
from tinykit.errors import TargetError, UsageError
from tinykit.link import Client
from tinykit.targets import open_target
from tinykit.targets.relay import Relay
from tinykit.targets.renode import RenodeTarget, find_renode, script

FAKE = '''\
#!{python}
"""Does what Renode does with our script: opens the port, serves one client, runs after `start`."""
import re, socket, subprocess, sys, threading
assert sys.argv[1:-1] == ["--disable-xwt", "--plain", "--port", "-1", "--console"], sys.argv
text = open(sys.argv[-1]).read()
print("(monitor) reading", sys.argv[-1], flush=True)
if "{fails}":
    sys.exit("Could not load platform: {fails}")
port = int(re.search(r'CreateServerSocketTerminal (\\d+) "term" false', text)[1])
server = socket.create_server(("127.0.0.1", port))
client, _ = server.accept()
server.close()
assert sys.stdin.readline() == "start\\n"
device = subprocess.Popen(["{device}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
def back():
    while data := device.stdout.read(4096):
        client.sendall(data)
threading.Thread(target=back, daemon=True).start()
while data := client.recv(4096):
    device.stdin.write(data)
device.kill()
'''
SAMPLE = np.arange(700, dtype=np.int64).astype(np.int8)


def test_the_script_is_what_renode_wants() -> None:
    text = script(Path("/a/firm ware.elf"), "/b/mps2.repl", "sysbus.uart0", 4711)
    assert text == textwrap.dedent("""\
        logLevel 3
        mach create "tinykit"
        machine LoadPlatformDescription @/b/mps2.repl
        emulation CreateServerSocketTerminal 4711 "term" false
        connector Connect sysbus.uart0 term
        sysbus LoadELF @/a/firm\\ ware.elf
        """)


def fake_renode(
    folder: Path, monkeypatch: pytest.MonkeyPatch, device: Path | str, fails: str = ""
) -> None:
    program = folder / "renode"
    program.write_text(FAKE.format(python=sys.executable, device=device, fails=fails))
    program.chmod(0o755)
    monkeypatch.setenv("RENODE", str(program))


def test_clients_come_and_go_while_renode_keeps_one_connection(
    programs: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_renode(tmp_path, monkeypatch, programs())
    elf = tmp_path / "x.elf"
    elf.touch()
    target = open_target("renode", elf=elf, board=load_board("mps2_an386"))
    assert isinstance(target, RenodeTarget)
    process = target._process
    assert process is not None
    with target:
        for step in (1, 2, 3):
            with Client(target.url) as client:
                assert client.train(SAMPLE, 1).step == step
    assert process.poll() is not None


def test_a_renode_that_fails_gives_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_renode(tmp_path, monkeypatch, "", fails="no such peripheral")
    with pytest.raises(TargetError, match=r"Renode ended .* no such peripheral"):
        RenodeTarget(tmp_path / "x.elf", Renode("x.repl", "sysbus.uart0"))


def test_renode_is_looked_for_in_three_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RENODE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PLATFORMIO_CORE_DIR", str(tmp_path / "core"))
    assert find_renode() is None
    with pytest.raises(TargetError, match="Renode is not installed") as caught:
        RenodeTarget(tmp_path / "x.elf", Renode("x.repl", "sysbus.uart0"))
    assert "RENODE" in caught.value.hint
    places = [
        tmp_path / "core" / "packages" / "tool-renode" / "renode",
        tmp_path / "bin" / "renode",
        tmp_path / "own" / "renode",
    ]
    for place in places:
        place.parent.mkdir(parents=True)
        place.touch(0o755)
        if place.parent.name == "own":
            monkeypatch.setenv("RENODE", str(place))
        assert find_renode() == str(place)
    monkeypatch.setenv("RENODE", "/nowhere/renode")
    assert find_renode() is None


def test_renode_is_not_asked_to_count(tmp_path: Path) -> None:
    elf = tmp_path / "x.elf"
    elf.touch()
    with pytest.raises(UsageError, match="counting"):
        open_target("renode", elf=elf, board=load_board("mps2_an386"), count_instructions=True)


def test_a_relay_ends_when_its_emulator_does() -> None:
    ours, theirs = socket.socketpair()
    relay = Relay(ours)
    host, port = relay.url.removeprefix("socket://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as client:
        client.sendall(b"ping")
        assert theirs.recv(4) == b"ping"
        theirs.sendall(b"pong")
        assert client.recv(4) == b"pong"
        theirs.close()
        assert client.recv(4) == b""
    relay.close()


@pytest.mark.emulator
@pytest.mark.skipif(find_renode() is None, reason="Renode is not installed (RENODE is not set)")
@pytest.mark.parametrize("board", ["mps2_an386", "stm32f746"])
def test_renode_itself(
    learner: Learner, firmware: Callable[..., tuple[Path, Board]], board: str
) -> None:
    from tinykit.host import HostModel
    from tinykit.verify import compare

    elf, chosen = firmware(board)
    with (
        open_target("renode", elf=elf, board=chosen) as target,
        Client(target.url, learner.manifest, timeout=10) as client,
    ):
        result = compare(
            client,
            HostModel(learner.generated),
            learner.samples,
            learner.labels,
            steps=5,
            inferences=2,
        )
    assert result.equal
