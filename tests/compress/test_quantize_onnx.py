"""`tinykit quantize` of an ONNX model: what is written can be imported, and keeps its classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from tests.importers.test_onnx import samples, weights
from tests.importers.test_onnx_models import SHAPE, exported
from tests.support.onnx_models import float_model, node, run_onnxruntime
from tinykit.cli.app import app
from tinykit.compress.quantize_onnx import quantize_onnx
from tinykit.errors import ModelError
from tinykit.importers import load_model
from tinykit.passes import simplify


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(exported().SerializeToString())
    return path


def test_it_keeps_the_classes(model: Path) -> None:
    """Samples as firmware sees them; labels that the float model itself gives."""
    x = samples(SHAPE, 60)
    content = model.read_bytes()
    y = np.array([run_onnxruntime(content, sample[None])[0].argmax() for sample in x])
    out = model.with_name("int8.onnx")
    result = quantize_onnx(model, np.moveaxis(x, 1, -1), out, test=(np.moveaxis(x, 1, -1), y))
    assert result.accuracy_float == 1
    assert result.accuracy_int8 == result.agreement >= 0.95
    assert result.bytes_int8 == out.stat().st_size
    kinds = [op.kind for op in simplify(load_model(out)).ops]
    assert kinds == [
        "conv2d", "depthwise_conv2d", "conv2d", "add", "average_pool2d", "reshape",
        "fully_connected",
    ]  # fmt: skip


def test_weights_in_a_file_of_their_own(model: Path) -> None:
    """As PyTorch's newer exporter writes them."""
    apart = model.with_name("apart.onnx")
    onnx.save(
        onnx.load(str(model)), str(apart), save_as_external_data=True, location="apart.data",
        size_threshold=0,
    )  # fmt: skip
    assert apart.with_name("apart.data").stat().st_size > 1000
    x = np.moveaxis(samples(SHAPE, 60), 1, -1)
    whole, parts = model.with_name("whole_int8.onnx"), model.with_name("apart_int8.onnx")
    quantize_onnx(model, x, whole)
    quantize_onnx(apart, x, parts)
    for a, b in zip(load_model(whole).ops, load_model(parts).ops, strict=True):
        assert (a.kind, a.attributes) == (b.kind, b.attributes)


def test_operators_that_onnxruntime_leaves_and_batch_normalization(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"], "/c/Conv", pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c", "g", "b", "m", "v"], ["n"], "/n/BatchNormalization"),
        node("HardSwish", ["n"], ["h"], "/h/HardSwish"),
        node("ReduceMean", ["h"], ["r"], "/r/ReduceMean", axes=[2, 3], keepdims=0),
        node("Gemm", ["r", "w2"], ["l"], "/fc/Gemm", transB=1),
        node("Softmax", ["l"], ["y"], "/s/Softmax", axis=1),
    ]
    constants = {"w": weights(4, 2, 3, 3), "g": weights(4), "b": weights(4), "m": weights(4),
                 "v": np.abs(weights(4)) + 1, "w2": weights(3, 4)}  # fmt: skip
    path, out = tmp_path / "net.onnx", tmp_path / "int8.onnx"
    path.write_bytes(float_model(nodes, (1, 2, 6, 6), constants).SerializeToString())
    quantize_onnx(path, samples((1, 2, 6, 6)), out)
    kinds = [op.kind for op in simplify(load_model(out)).ops]
    assert kinds == ["conv2d", "hard_swish", "mean", "fully_connected", "softmax"]


def test_the_command(model: Path) -> None:
    np.savez(model.with_name("data.npz"), x=samples(SHAPE, 20))
    arguments = ["quantize", str(model), "--samples", str(model.with_name("data.npz"))]
    result = CliRunner().invoke(app, [*arguments, "--project", str(model.parent)])
    assert result.exit_code == 0, result.output
    assert "net_int8.onnx" in result.output.replace("\n", "")
    load_model(model.with_name("net_int8.onnx"))


def test_refusals(model: Path) -> None:
    out = model.with_name("int8.onnx")
    with pytest.raises(ModelError, match=r"samples are float32 \[2, 5\]; the model needs"):
        quantize_onnx(model, np.zeros((2, 5), np.float32), out)
    quantize_onnx(model, samples(SHAPE), out)
    with pytest.raises(ModelError, match="is quantized already"):
        quantize_onnx(out, samples(SHAPE), model)
    with pytest.raises(ModelError, match="no such file"):
        quantize_onnx(model.with_name("absent.onnx"), samples(SHAPE), out)
