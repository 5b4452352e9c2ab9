"""Emulators and boards: all give a URL, all behave alike, none stays behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.devices.learner import Learner
from tests.devices.scratch import Scratch
from tests.devices.wire import Device, Wire
from tinykit.boards import Board, load_board
from tinykit.errors import LinkError, TargetError, UsageError
from tinykit.link import Client
from tinykit.targets import default_target, open_target, serve
from tinykit.targets.qemu import QemuTarget
from tinykit.targets.symbols import nearest_symbol, read_symbols
from tinykit.targets.unicorn import UnicornTarget

Firmware = Callable[..., tuple[Path, Board]]
QEMU = pytest.mark.skipif(
    not shutil.which("qemu-system-arm"), reason="qemu-system-arm is not installed"
)
EMULATORS = ["unicorn", pytest.param("qemu", marks=QEMU)]
emulator = pytest.mark.emulator


def work(client: Client, learner: Learner) -> tuple[object, ...]:
    """Something of everything."""
    outputs = [client.infer(sample).tobytes() for sample in learner.samples[:3]]
    steps = client.train_all(learner.samples, learner.labels)
    saved = client.save()
    client.reset()
    fresh = client.parameters()
    client.load(saved)
    return outputs, steps, saved, fresh, client.parameters()


@emulator
@pytest.mark.parametrize("board", ["mps2_an386", "netduinoplus2"])
def test_emulators_do_the_same(learner: Learner, firmware: Firmware, board: str) -> None:
    elf, chosen = firmware(board)
    names = ["unicorn"] + (["qemu"] if shutil.which("qemu-system-arm") else [])
    results = []
    for name in names:
        with open_target(name, elf=elf, board=chosen) as target, Client(target.url) as client:
            results.append(work(client, learner))
            assert client.counters().stack_used > 0
    assert results[0] == results[-1]


@emulator
@pytest.mark.parametrize("name", EMULATORS)
def test_the_next_client_finds_what_the_last_one_left(
    learner: Learner, firmware: Firmware, name: str
) -> None:
    elf, board = firmware()
    with open_target(name, elf=elf, board=board) as target:
        for step in range(1, 4):
            with Client(target.url, learner.manifest) as client:
                assert client.train(learner.samples[0], 1).step == step


@emulator
@QEMU
def test_both_emulators_count_the_same_instructions(learner: Learner, firmware: Firmware) -> None:
    elf, board = firmware()
    counts = []
    for name in ("unicorn", "qemu"):
        with (
            open_target(name, elf=elf, board=board, count_instructions=True) as target,
            Client(target.url) as client,
        ):
            client.infer(learner.samples[0])
            client.train(learner.samples[0], 1)
            client.infer(learner.samples[0])
            counts.append(target.instructions())
    assert len(counts[0]) == 3
    assert counts[0] == counts[1]
    assert counts[0][1] > counts[0][0] > learner.manifest.macs["infer"]


@emulator
def test_nothing_is_counted_unless_asked(learner: Learner, firmware: Firmware) -> None:
    elf, board = firmware()
    with open_target("unicorn", elf=elf, board=board) as target, Client(target.url) as client:
        client.infer(learner.samples[0])
        assert target.instructions() == []


@emulator
def test_a_fault_in_unicorn_names_its_function(
    learner: Learner, firmware: Firmware, tmp_path: Path
) -> None:
    """A function of the model overwritten with an undefined instruction, then with a wild read."""
    elf, board = firmware()
    address, _ = read_symbols(elf)["learner_infer"]
    for code, reason in (
        (b"\x00\xde\x00\xde", "executed what is no instruction"),
        (b"\x4f\xf0\x20\x40\x00\x68\x00\x68", "read from 0xa0000000, where there is no memory"),
        (b"\x00\x20\x01\x60\x01\x60", "wrote to 0x00000000, flash"),
    ):
        broken = _patched(elf, address, code, tmp_path / "broken.elf")
        with pytest.raises(TargetError, match=reason) as caught:
            _infer_once(broken, board, learner)
        assert "in learner_infer+0x" in caught.value.message
        assert "\n" not in caught.value.message


@emulator
@QEMU
def test_a_fault_on_a_machine_is_reported_over_the_wire(
    learner: Learner, firmware: Firmware, tmp_path: Path
) -> None:
    """The firmware's own handler reports it, and the board restarts and can be used again."""
    elf, board = firmware()
    address, _ = read_symbols(elf)["learner_infer"]
    broken = _patched(elf, address, b"\x00\xde\x00\xde", tmp_path / "broken.elf")
    with open_target("qemu", elf=broken, board=board) as target:
        client = Client(target.url, elf=broken)
        with pytest.raises(LinkError, match=r"Fault at .*undefined instruction.* in learner_inf"):
            client.infer(learner.samples[0])
        client.close()
        with Client(target.url) as again:
            assert again.train(learner.samples[0], 1).step == 1


def _infer_once(elf: Path, board: Board, learner: Learner) -> None:
    with open_target("unicorn", elf=elf, board=board) as target, Client(target.url) as client:
        client.infer(learner.samples[0])


def _patched(elf: Path, address: int, code: bytes, out: Path) -> Path:
    from elftools.elf.elffile import ELFFile

    data = bytearray(elf.read_bytes())
    with elf.open("rb") as file:
        for segment in ELFFile(file).iter_segments("PT_LOAD"):
            at = address - segment["p_paddr"]
            if 0 <= at < segment["p_filesz"]:
                data[segment["p_offset"] + at : segment["p_offset"] + at + len(code)] = code
    out.write_bytes(data)
    return out


@emulator
def test_unicorn_runs_the_reset_that_the_firmware_asks_for(
    learner: Learner, firmware: Firmware
) -> None:
    elf, board = firmware()
    with open_target("unicorn", elf=elf, board=board) as target:
        assert isinstance(target, UnicornTarget)
        with Client(target.url) as client:
            client.train(learner.samples[0], 1)
        target._core._restart = True
        with Client(target.url) as client:
            assert client.train(learner.samples[0], 1).step == 1


@emulator
@pytest.mark.parametrize("name", EMULATORS)
def test_closing_ends_an_emulator_that_computes(
    learner: Learner, firmware: Firmware, name: str
) -> None:
    elf, board = firmware()
    threads = threading.active_count()
    target = open_target(name, elf=elf, board=board)
    with Client(target.url) as client:
        client._write_input(learner.samples[0])
    started = time.monotonic()
    target.close()
    target.close()
    assert time.monotonic() - started < 4
    assert threading.active_count() == threads
    if isinstance(target, QemuTarget):
        assert target._process is None


@emulator
@QEMU
def test_qemu_ends_when_its_parent_is_killed(firmware: Firmware) -> None:
    elf, board = firmware()
    script = (
        "import sys, time; from pathlib import Path; from tinykit.targets import open_target;"
        "from tinykit.boards import load_board;"
        f"t = open_target('qemu', elf=Path({str(elf)!r}), board=load_board({board.name!r}));"
        "print(t._process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or _is_zombie(child):
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    raise AssertionError("QEMU outlived the program that started it")


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


@emulator
@QEMU
def test_a_qemu_that_dies_gives_its_reason(firmware: Firmware) -> None:
    elf, _ = firmware()
    with pytest.raises(TargetError, match=r"QEMU ended with code 1: .*machine"):
        _greet(elf)


def _greet(elf: Path) -> None:
    with QemuTarget(elf, "no-such-machine") as target:
        Client(target.url, timeout=0.3, retries=2)


def test_qemu_that_is_missing_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    board = load_board("mps2_an386")
    assert default_target(board) == "unicorn"
    with pytest.raises(TargetError, match="qemu-system-arm is not installed") as caught:
        QemuTarget(Path(__file__), "mps2-an386")
    assert "apt-get install qemu-system-arm" in caught.value.hint


@QEMU
def test_the_default_is_qemu_where_it_knows_the_board() -> None:
    assert default_target(load_board("mps2_an386")) == "qemu"
    assert default_target(load_board("stm32f746")) == "unicorn"


@pytest.mark.parametrize(
    ("name", "board", "error", "message"),
    [
        ("simulator", "mps2_an386", UsageError, "there is no target 'simulator'"),
        ("qemu", "stm32f746", TargetError, "QEMU has no machine for board stm32f746"),
        ("unicorn", "mps3_an547", TargetError, "Unicorn has no core like board mps3_an547's"),
    ],
)
def test_requests_that_cannot_be_met(
    name: str, board: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        open_target(name, elf=Path(__file__), board=load_board(board))


def test_firmware_that_is_missing_or_foreign_is_one_line(tmp_path: Path) -> None:
    board = load_board("mps2_an386")
    with pytest.raises(UsageError, match=r"there is no firmware at .*none\.elf"):
        open_target("unicorn", elf=tmp_path / "none.elf", board=board)
    with pytest.raises(UsageError, match="needs firmware"):
        open_target("unicorn", board=board)
    text = tmp_path / "text.elf"
    text.write_text("not an ELF file")
    with pytest.raises(TargetError, match="as an ELF file"):
        open_target("unicorn", elf=text, board=board)
    with pytest.raises(TargetError, match="not firmware for an Arm core"):
        open_target("unicorn", elf=Path(shutil.which("gcc") or "/bin/ls").resolve(), board=board)


@emulator
def test_firmware_for_another_board_is_refused(firmware: Firmware) -> None:
    elf, _ = firmware("netduinoplus2")
    with pytest.raises(TargetError, match="does not belong on this board"):
        open_target("unicorn", elf=elf, board=load_board("mps2_an386"))


def test_a_serial_port_is_taken_as_it_is() -> None:
    with open_target("serial", port="/dev/ttyACM7") as target:
        assert target.url == "/dev/ttyACM7"
    with open_target(None, port="loop://", board=load_board("stm32f746")) as target:
        assert target.url == "loop://"
    with pytest.raises(UsageError, match="cycles, not instructions"):
        open_target("serial", port="x", count_instructions=True)


def test_without_a_port_the_only_one_is_taken_or_all_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Info:
        def __init__(self, device: str) -> None:
            self.device, self.description = device, "ST-LINK"

    ports: list[Info] = []
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: ports)
    with pytest.raises(TargetError, match="no serial port"):
        open_target("serial")
    ports.append(Info("/dev/ttyACM0"))
    assert open_target("serial").url == "/dev/ttyACM0"
    ports.append(Info("/dev/ttyACM1"))
    with pytest.raises(TargetError, match=r"2 serial ports: /dev/ttyACM0 \(ST-LINK\), /dev/ttyA"):
        open_target("serial")


def test_serve_announces_and_ends_with_ctrl_c(
    programs: Callable[..., Path], models: Callable[..., Scratch], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Wire(Device(programs())) as wire:
        target = open_target("serial", port=wire.url)
        said: list[str] = []

        def interrupt(seconds: float) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("tinykit.targets.time.sleep", interrupt)
        serve(target, said.append)
        assert said == [wire.url]


@emulator
def test_symbols_are_found_by_address(firmware: Firmware) -> None:
    elf, _ = firmware()
    address, size = read_symbols(elf)["tk_link_feed"]
    assert size > 2
    assert nearest_symbol(elf, address + 3) == "tk_link_feed+0x2"
    assert nearest_symbol(elf, 0xF0000000) == "0xf0000000"
