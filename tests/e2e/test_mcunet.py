"""The network and the update scheme of the paper, on an emulated Cortex-M7."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tinykit.boards import load_board
from tinykit.build import build_firmware
from tinykit.codegen import generate
from tinykit.host import HostModel
from tinykit.importers import load_model
from tinykit.link import Client
from tinykit.targets import open_target
from tinykit.training.plan import tte_plan
from tinykit.verify import compare

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.slow,
    pytest.mark.skipif(
        not shutil.which("qemu-system-arm"), reason="qemu-system-arm is not installed"
    ),
]


def test_mcunet_learns_on_the_device_as_on_the_host(shared: Path, tmp_path: Path) -> None:
    """Scheme "49kb" of the Tiny Training Engine: three steps, equal to the bit."""
    graph = load_model(shared / "models" / "mcunet-5fps-10c.tflite")
    plan = tte_plan(shared / "models" / "tte_schemes.json", "mcunet", "49kb")
    random = np.random.default_rng(3)
    coarse = random.normal(0, 50, (4, 1, 16, 16, 3)).repeat(8, axis=2).repeat(8, axis=3)
    samples = np.clip(coarse + random.normal(0, 12, (4, 1, 128, 128, 3)), -128, 127)
    samples = samples.astype(np.int8)
    labels = np.arange(4)
    generated = tmp_path / "generated"
    manifest = generate(
        graph, generated, name="mcunet", plan=plan, samples=samples, labels=labels.tolist()
    )
    board = load_board("mps2_an500")
    elf = build_firmware(generated, board, tmp_path / "work").elf
    with (
        open_target("qemu", elf=elf, board=board) as target,
        Client(target.url, manifest, elf=elf) as client,
    ):
        result = compare(client, HostModel(generated), samples, labels, steps=3, inferences=1)
    assert result.difference is None
    assert result.differing_bits == 0
    assert result.equal
    assert result.steps == 3
    assert result.compared_bits == 8 * sum(tensor.bytes for tensor in manifest.parameters)
    assert result.compared_bits > 300_000
