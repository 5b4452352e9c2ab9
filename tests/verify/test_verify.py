"""Device and host reference: equal to the bit, or the first wrong layer is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.devices.learner import Learner, flip, make_learner
from tinykit.boards import Board
from tinykit.errors import UsageError, VerifyError
from tinykit.host import HostModel
from tinykit.link import Client
from tinykit.targets import open_target
from tinykit.verify import VerifyResult, compare, verify

pytestmark = pytest.mark.emulator

Firmware = Callable[..., tuple[Path, Board]]
needs_qemu = pytest.mark.skipif(
    not shutil.which("qemu-system-arm"), reason="qemu-system-arm is not installed"
)


def check(learner: Learner, elf: Path, board: Board, target: str, **options: int) -> VerifyResult:
    with (
        open_target(target, elf=elf, board=board) as running,
        Client(running.url, learner.manifest, elf=elf) as client,
    ):
        reference = HostModel(learner.generated)
        return compare(client, reference, learner.samples, learner.labels, **options)


@pytest.mark.parametrize("target", ["unicorn", pytest.param("qemu", marks=needs_qemu)])
def test_firmware_equals_the_reference_to_the_bit(
    learner: Learner, firmware: Firmware, target: str
) -> None:
    done: list[tuple[int, int]] = []
    elf, board = firmware()
    result = check(
        learner, elf, board, target, steps=200, inferences=5, progress=lambda *x: done.append(x)
    )  # type: ignore[arg-type]
    assert result.equal
    assert result.traced
    assert (result.steps, result.inferences) == (200, 10)
    assert result.differing_bits == 0
    assert result.compared_bits == 8 * sum(t.bytes for t in learner.manifest.parameters)
    assert done[-1] == (210, 210)


def test_what_was_learnt_before_is_put_back(learner: Learner, firmware: Firmware) -> None:
    elf, board = firmware()
    with (
        open_target("unicorn", elf=elf, board=board) as running,
        Client(running.url, learner.manifest) as client,
    ):
        fresh = client.parameters()
        client.train_all(learner.samples, learner.labels)
        learnt = client.parameters()
        assert learnt != fresh
        verify(client, HostModel(learner.generated), learner.samples, learner.labels, steps=2)
        assert client.parameters() == learnt


def constants(learner: Learner, kind: str) -> list[str]:
    """Constants of the generated code, of one line of the memory map."""
    return [name for name, item in learner.manifest.symbols.items() if item == kind]


def altered_layer(
    learner: Learner, elf: Path, board: Board, symbol: str, at: int, tmp_path: Path, mask: int
) -> tuple[VerifyResult, str]:
    wrong = flip(elf, symbol, at, tmp_path / "wrong.elf", mask)
    result = check(learner, wrong, board, "unicorn", steps=6, inferences=4)
    assert result.difference is not None, f"{symbol}[{at}] was altered and nothing differs"
    assert result.difference.location is not None, result.difference
    return result, result.difference.location.layer


def layer_of(learner: Learner, symbol: str) -> str:
    """The layer whose name a constant bears."""
    bare = symbol.removeprefix(f"{learner.manifest.name}_")
    layers = {op.layer for op in learner.manifest.ops if bare.startswith(op.layer)}
    return max(layers, key=len)


@pytest.mark.parametrize("kind", ["weights", "biases"])
def test_an_altered_constant_is_found_in_its_layer(
    learner: Learner, firmware: Firmware, tmp_path: Path, kind: str
) -> None:
    elf, board = firmware()
    symbols = constants(learner, kind)
    assert symbols
    for symbol in symbols:
        at = 1 if kind == "biases" else 4  # the second byte of a bias weighs 256
        _, layer = altered_layer(learner, elf, board, symbol, at, tmp_path, 0x40)
        assert layer == layer_of(learner, symbol), symbol


def test_an_altered_multiplier_is_found_in_its_layer(
    learner: Learner, firmware: Firmware, tmp_path: Path
) -> None:
    elf, board = firmware()
    symbols = [s for s in constants(learner, "tables") if s.endswith("_multiplier")]
    assert symbols
    for symbol in symbols:
        _, layer = altered_layer(learner, elf, board, symbol, 3, tmp_path, 0x20)
        assert layer == layer_of(learner, symbol), symbol


def test_altered_initial_parameters_are_named(
    learner: Learner, firmware: Firmware, tmp_path: Path
) -> None:
    elf, board = firmware()
    head = next(p for p in learner.manifest.parameters if p.role == "weights")
    (symbol,) = constants(learner, "initial parameters")
    result, layer = altered_layer(learner, elf, board, symbol, head.offset, tmp_path, 0x40)
    assert layer == head.layer
    assert result.differing_bits == 1
    assert [t.name for t in result.tensors if t.differing] == [head.name]


def test_an_altered_learning_rate_is_found_in_an_update(
    learner: Learner, firmware: Firmware, tmp_path: Path
) -> None:
    elf, board = firmware()
    symbol = f"{learner.manifest.name}_optimizer"
    result, _ = altered_layer(learner, elf, board, symbol, 2, tmp_path, 0x40)
    assert result.difference is not None
    assert result.difference.when == "training step 1"
    assert result.difference.location is not None
    assert result.difference.location.phase in ("loss", "update", "backward")


def test_verify_fails_in_one_line(learner: Learner, firmware: Firmware, tmp_path: Path) -> None:
    elf, board = firmware()
    symbol = constants(learner, "weights")[0]
    wrong = flip(elf, symbol, 4, tmp_path / "wrong.elf")
    with (
        open_target("unicorn", elf=wrong, board=board) as running,
        Client(running.url, learner.manifest) as client,
        pytest.raises(VerifyError, match=r"differ first in layer '.*' \(operator \d+") as caught,
    ):
        verify(client, HostModel(learner.generated), learner.samples, learner.labels, steps=3)
    assert "\n" not in caught.value.message


def test_a_constant_that_no_sample_uses_is_found_in_the_file(
    learner: Learner, firmware: Firmware, tmp_path: Path
) -> None:
    """Without a single training step the learning rate plays no part in any run."""
    elf, board = firmware()
    wrong = flip(elf, f"{learner.manifest.name}_optimizer", 2, tmp_path / "wrong.elf")
    result = check(learner, wrong, board, "unicorn", steps=0, inferences=2)
    assert result.difference is None
    assert not result.equal
    assert [constant.bytes for constant in result.altered] == [1]
    with (
        open_target("unicorn", elf=wrong, board=board) as running,
        Client(running.url, learner.manifest, elf=wrong) as client,
        pytest.raises(VerifyError, match=r"file differs .* '.*_optimizer', though no sample"),
    ):
        verify(client, HostModel(learner.generated), learner.samples, steps=0, inferences=1)


def test_without_the_trace_a_difference_is_found_and_the_way_out_is_named(
    learner: Learner, firmware: Firmware, tmp_path: Path
) -> None:
    elf, board = firmware(trace=False)
    fine = check(learner, elf, board, "unicorn", steps=10, inferences=2)
    assert fine.equal
    assert not fine.traced
    symbol = constants(learner, "weights")[0]
    wrong = flip(elf, symbol, 4, tmp_path / "wrong.elf")
    result = check(learner, wrong, board, "unicorn", steps=10, inferences=4)
    assert result.difference is not None
    assert result.difference.location is None
    assert "tinykit build --trace" in result.difference.why_not


def test_another_models_firmware_is_refused(
    learner: Learner, firmware: Firmware, tmp_path: Path
) -> None:
    other = make_learner(tmp_path, name="other")
    elf, board = firmware()
    with (
        open_target("unicorn", elf=elf, board=board) as running,
        Client(running.url) as client,
        pytest.raises(VerifyError, match=r"holds model 'learner' .* not 'other'"),
    ):
        compare(client, HostModel(other.generated), other.samples, other.labels)


def test_a_model_that_only_infers_can_be_verified(tmp_path: Path) -> None:
    fixed = make_learner(tmp_path / "generated", trains=False)
    elf, board = fixed.firmware("mps2_an386", tmp_path / "work")
    result = check(fixed, elf, board, "unicorn", inferences=6)
    assert (result.equal, result.steps, result.inferences) == (True, 0, 6)
    wrong = flip(elf, constants(fixed, "biases")[0], 1, tmp_path / "wrong.elf")
    found = check(fixed, wrong, board, "unicorn", inferences=6).difference
    assert found is not None
    assert found.location is not None
    assert found.location.layer == layer_of(fixed, constants(fixed, "biases")[0])


def test_samples_without_labels_are_a_usage_error(learner: Learner, firmware: Firmware) -> None:
    elf, board = firmware()
    with (
        open_target("unicorn", elf=elf, board=board) as running,
        Client(running.url) as client,
    ):
        reference = HostModel(learner.generated)
        with pytest.raises(UsageError, match="16 samples and 0 labels"):
            compare(client, reference, learner.samples)
        with pytest.raises(UsageError, match="0 samples"):
            compare(client, reference, np.zeros((0, 1), np.int8), np.zeros(0, np.int64))
