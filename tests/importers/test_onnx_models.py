"""Whole ONNX models: as PyTorch exports them, trained on the device, and damaged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from onnxruntime.quantization import QuantType

from tests.importers.test_onnx import codes_of, ints, samples, weights
from tests.importers.test_tflite_fuzz import check as runs_or_is_refused
from tests.importers.test_tflite_fuzz import mutated
from tests.support.goldens import tflm
from tests.support.kernels import SanitizedKernels
from tests.support.onnx_models import (
    as_tflite,
    file_graph,
    float_model,
    node,
    quantized,
    run_onnxruntime,
)
from tests.training.test_gradients_tensorflow import EVERYTHING, PARTS
from tests.training.test_gradients_tensorflow import check as equal_gradients
from tinykit.codegen import compile_model
from tinykit.errors import ModelError
from tinykit.importers import load_model
from tinykit.ir import Array
from tinykit.ops.evaluate import evaluate
from tinykit.passes import simplify

EFFORT = int(os.environ.get("TINYKIT_FUZZ", "1"))
SHAPE = (1, 3, 12, 12)


def exported() -> onnx.ModelProto:
    """A residual CNN as torch.onnx.export writes it: the names of its modules, an open batch,
    x.view(x.size(0), -1) spelt out."""
    constants: dict[str, Array] = {
        "conv1.weight": weights(8, 3, 3, 3), "conv1.bias": weights(8, seed=2),
        "layer1.0.conv1.weight": weights(8, 1, 3, 3, seed=3),
        "layer1.0.conv1.bias": weights(8, seed=4),
        "layer1.0.conv2.weight": weights(8, 8, 1, 1, seed=5),
        "layer1.0.conv2.bias": weights(8, seed=6),
        "fc.weight": weights(5, 8 * 3 * 3, seed=7), "fc.bias": weights(5, seed=8),
    }  # fmt: skip
    zero = onnx.numpy_helper.from_array(np.array(0, np.int64))
    minus = onnx.numpy_helper.from_array(ints(-1))
    block = "/layer1/layer1.0"
    nodes = [
        node("Conv", ["x", "conv1.weight", "conv1.bias"], ["/conv1/Conv_output_0"], "/conv1/Conv",
             kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2], dilations=[1, 1], group=1),
        node("Relu", ["/conv1/Conv_output_0"], ["/relu/Relu_output_0"], "/relu/Relu"),
        node("Conv", ["/relu/Relu_output_0", "layer1.0.conv1.weight", "layer1.0.conv1.bias"],
             [f"{block}/conv1/Conv_output_0"], f"{block}/conv1/Conv",
             kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1], dilations=[1, 1], group=8),
        node("Relu", [f"{block}/conv1/Conv_output_0"], [f"{block}/relu/Relu_output_0"],
             f"{block}/relu/Relu"),
        node("Conv", [f"{block}/relu/Relu_output_0", "layer1.0.conv2.weight",
                      "layer1.0.conv2.bias"],
             [f"{block}/conv2/Conv_output_0"], f"{block}/conv2/Conv",
             kernel_shape=[1, 1], pads=[0, 0, 0, 0], strides=[1, 1], dilations=[1, 1], group=1),
        node("Add", [f"{block}/conv2/Conv_output_0", "/relu/Relu_output_0"],
             [f"{block}/Add_output_0"], f"{block}/Add"),
        node("Relu", [f"{block}/Add_output_0"], [f"{block}/relu_1/Relu_output_0"],
             f"{block}/relu_1/Relu"),
        node("AveragePool", [f"{block}/relu_1/Relu_output_0"], ["/pool/AveragePool_output_0"],
             "/pool/AveragePool", kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0],
             ceil_mode=0, count_include_pad=1),
        node("Shape", ["/pool/AveragePool_output_0"], ["/Shape_output_0"], "/Shape"),
        node("Constant", [], ["/Constant_output_0"], "/Constant", value=zero),
        node("Gather", ["/Shape_output_0", "/Constant_output_0"], ["/Gather_output_0"], "/Gather",
             axis=0),
        node("Constant", [], ["/axes_output_0"], "/axes",
             value=onnx.numpy_helper.from_array(ints(0))),
        node("Unsqueeze", ["/Gather_output_0", "/axes_output_0"], ["/Unsqueeze_output_0"],
             "/Unsqueeze"),
        node("Constant", [], ["/Constant_1_output_0"], "/Constant_1", value=minus),
        node("Concat", ["/Unsqueeze_output_0", "/Constant_1_output_0"], ["/Concat_output_0"],
             "/Concat", axis=0),
        node("Reshape", ["/pool/AveragePool_output_0", "/Concat_output_0"], ["/Reshape_output_0"],
             "/Reshape", allowzero=0),
        node("Gemm", ["/Reshape_output_0", "fc.weight", "fc.bias"], ["y"], "/fc/Gemm", alpha=1.0,
             beta=1.0, transB=1),
    ]  # fmt: skip
    return float_model(nodes, ["batch_size", *SHAPE[1:]], constants, opset=17)


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "residual.onnx"
    path.write_bytes(quantized(exported(), samples(SHAPE, 32)))
    return path


def test_an_exported_model(residual: Path, sanitized_kernels: SanitizedKernels) -> None:
    """Bit for bit TFLM; onnxruntime's class; no transpose is left; layers have their names."""
    graph = load_model(residual)
    simple = simplify(graph)
    assert graph[graph.inputs[0]].shape == (1, 12, 12, 3)
    assert [(op.kind, op.name) for op in simple.ops if op.kind != "reshape"] == [
        ("conv2d", "conv1"), ("depthwise_conv2d", "layer1_0_conv1"),
        ("conv2d", "layer1_0_conv2"), ("add", "layer1_0"), ("average_pool2d", "pool"),
        ("fully_connected", "fc"),
    ]  # fmt: skip
    content, golden = residual.read_bytes(), as_tflite(file_graph(residual))
    same, steps = [], []
    for x in samples(SHAPE, 40):
        codes = codes_of(graph, graph.inputs[0], x[None])
        y = evaluate(simple, {simple.inputs[0]: codes})[simple.outputs[0]]
        np.testing.assert_array_equal(tflm(golden, codes), y)
        np.testing.assert_array_equal(sanitized_kernels.run(simple, codes), y)
        wanted = codes_of(graph, graph.outputs[0], run_onnxruntime(content, x[None])[0])
        steps.append(np.abs(y.astype(int) - wanted).max())
        tied = wanted.max() - np.sort(wanted.ravel())[-2] < 2
        same.append(tied or y.argmax() == wanted.argmax())
    assert all(same)
    assert max(steps) <= 2


@pytest.mark.parametrize("plan", [EVERYTHING, PARTS], ids=lambda plan: plan.name)
def test_it_learns_with_tensorflows_gradients(residual: Path, plan: object) -> None:
    graph = simplify(load_model(residual))
    codes = np.concatenate(
        [codes_of(graph, graph.inputs[0], x[None])[None] for x in samples(SHAPE, 14)]
    )
    labels = [i % 5 for i in range(12)]
    compiled = compile_model(graph, name="net", plan=plan, samples=codes[:12], labels=labels)  # type: ignore[arg-type]
    assert compiled.train is not None
    equal_gradients(compiled.train.graph, codes[12:])


def test_weights_in_other_forms(tmp_path: Path) -> None:
    """Float weights with a QuantizeLinear of their own, uint8 codes: the same layers."""
    forms: list[dict[str, Any]] = [
        {"extra_options": {"AddQDQPairToWeight": True}},
        {"weight_type": QuantType.QUInt8, "extra_options": {"WeightSymmetric": True}},
    ]
    for index, form in enumerate(forms):
        path, activations = tmp_path / "some.onnx", ("QInt8", "QUInt8")[index]
        path.write_bytes(quantized(exported(), samples(SHAPE, 32), activations))
        graph = simplify(load_model(path))
        path.write_bytes(quantized(exported(), samples(SHAPE, 32), activations, **form))
        other = simplify(load_model(path))
        assert [op.kind for op in other.ops] == [op.kind for op in graph.ops]
        for sample in samples(SHAPE, 3):
            codes = codes_of(graph, graph.inputs[0], sample[None])
            y, z = (evaluate(g, {g.inputs[0]: codes})[g.outputs[0]] for g in (graph, other))
            if index == 0:
                np.testing.assert_array_equal(y, z)
            real = run_onnxruntime(path.read_bytes(), sample[None])[0]
            wanted = codes_of(other, other.outputs[0], real)
            assert np.abs(z.astype(int) - wanted).max() <= 2


def test_channels_last_models_keep_no_transpose(
    tmp_path: Path, sanitized_kernels: SanitizedKernels
) -> None:
    """As tf2onnx writes: [1, H, W, C] outside, transposes around the layers."""
    nodes = [
        node("Transpose", ["x"], ["t"], "/t", perm=[0, 3, 1, 2]),
        node("Conv", ["t", "w"], ["c"], "/c/Conv", pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"], "/r"),
        node("Transpose", ["r"], ["y"], "/u", perm=[0, 2, 3, 1]),
    ]
    shape = (1, 6, 5, 2)
    content = quantized(float_model(nodes, shape, {"w": weights(4, 2, 3, 3)}), samples(shape))
    path = tmp_path / "last.onnx"
    path.write_bytes(content)
    graph = simplify(load_model(path))
    assert [op.kind for op in graph.ops] == ["conv2d"]
    assert graph[graph.inputs[0]].shape == shape
    x = samples(shape, 1)
    codes = codes_of(graph, graph.inputs[0], x)
    y = sanitized_kernels.run(graph, codes)
    wanted = codes_of(graph, graph.outputs[0], run_onnxruntime(content, x)[0])
    assert np.abs(y.astype(int) - wanted).max() <= 1


# --- what cannot be imported ----------------------------------------------------------------------


def refused(tmp_path: Path, content: bytes) -> ModelError:
    path = tmp_path / "no.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError) as error:
        load_model(path)
    assert error.value.message.startswith(f"{path}: ")
    assert error.value.message.isprintable()
    return error.value


def test_a_float_model_is_told_how_to_be_quantized(tmp_path: Path) -> None:
    error = refused(tmp_path, exported().SerializeToString())
    assert "is a float model" in error.message
    assert "quantize_static" in error.hint


@pytest.mark.parametrize(
    ("operator", "attributes", "words"),
    [
        ("Cos", {}, "Cos /part (opset 17): this operator is not supported"),
        ("LpPool", {"kernel_shape": [2, 2]}, "LpPool /part (opset 17)"),
        ("MaxPool", {"kernel_shape": [2, 2], "dilations": [2, 2]}, "MaxPool /part (opset 17)"),
        ("HardSigmoid", {}, "HardSigmoid /part (opset 17): alpha is 0.2, beta 0.5"),
        ("HardSigmoid", {"alpha": 1 / 6}, "HardSigmoid /part (opset 17): this operator is not"),
        ("Elu", {"alpha": 2.0}, "Elu /part (opset 17): alpha is not 1"),
    ],
)
def test_one_line_names_operator_node_and_opset(
    operator: str, attributes: dict[str, int], words: str, tmp_path: Path
) -> None:
    nodes = [node("Abs", ["x"], ["a"], "/abs"), node(operator, ["a"], ["y"], "/part", **attributes)]
    content = quantized(float_model(nodes, (1, 2, 6, 6), {}), samples((1, 2, 6, 6)),
                        everything=True)  # fmt: skip
    assert words in refused(tmp_path, content).message


def test_groups_are_refused(tmp_path: Path) -> None:
    nodes = [node("Conv", ["x", "w"], ["y"], "/c/Conv", group=2)]
    model = float_model(nodes, (1, 4, 6, 6), {"w": weights(4, 2, 3, 3)})
    error = refused(tmp_path, quantized(model, samples((1, 4, 6, 6))))
    assert "Conv /c/Conv (opset 17): 2 groups of 4 channels" in error.message


def test_operators_left_in_float_are_named(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"], "/c/Conv"),
        node("Elu", ["c"], ["y"], "/act/Elu"),
    ]
    model = float_model(nodes, (1, 4, 6, 6), {"w": weights(4, 4, 3, 3)})
    error = refused(tmp_path, quantized(model, samples((1, 4, 6, 6))))
    assert "Elu /act/Elu (opset 17): the output y is not quantized" in error.message
    assert "op_types_to_quantize" in error.hint


def test_int16_activations_are_refused(tmp_path: Path) -> None:
    content = quantized(exported(), samples(SHAPE), "QInt16")
    assert "codes are int16; supported are int8, uint8" in refused(tmp_path, content).message


def test_an_old_opset_is_refused(tmp_path: Path) -> None:
    model = exported()
    model.opset_import[0].version = 11
    assert (
        "opset 11; supported are 13 to 21" in refused(tmp_path, model.SerializeToString()).message
    )


def test_an_open_size_is_refused(tmp_path: Path) -> None:
    model = onnx.load_model_from_string(quantized(exported(), samples(SHAPE)))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    assert "dimension 2 of the input x" in refused(tmp_path, model.SerializeToString()).message


def test_without_the_package(residual: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tinykit.errors import TinykitError

    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(TinykitError) as error:
        load_model(residual)
    assert error.value.hint == "pip install 'tinykit-mcu[onnx]'"


# --- damaged files --------------------------------------------------------------------------------


def small() -> bytes:
    shape = (1, 2, 6, 6)
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], "/c/Conv", pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"], "/r/Relu"),
        node("Add", ["r", "x"], ["a"], "/Add"),
        node("MaxPool", ["a"], ["p"], "/p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["p"], ["f"], "/f"),
        node("Gemm", ["f", "w2", "b2"], ["y"], "/fc/Gemm", transB=1),
    ]
    constants = {"w": weights(2, 2, 3, 3), "b": weights(2), "w2": weights(3, 18), "b2": weights(3)}
    return quantized(float_model(nodes, shape, constants), samples(shape))


def test_mutations(tmp_path: Path, sanitized_kernels: SanitizedKernels) -> None:
    content, path = small(), tmp_path / "damaged.onnx"
    assert runs_or_is_refused(content, path, sanitized_kernels) == "runs"
    results = [
        runs_or_is_refused(mutated(content, np.random.default_rng(seed)), path, sanitized_kernels)
        for seed in range(400 * EFFORT)
    ]
    assert results.count("refused") > 50
    assert results.count("runs") > 10


def test_damaged_attributes(tmp_path: Path, sanitized_kernels: SanitizedKernels) -> None:
    """Sound files whose numbers are not: every attribute of every node, at extremes."""
    path = tmp_path / "odd.onnx"
    model = onnx.load_model_from_string(small())
    results = []
    for i, made in enumerate(model.graph.node):
        for j, attribute in enumerate(made.attribute):
            if attribute.type not in (onnx.AttributeProto.INT, onnx.AttributeProto.INTS):
                continue
            for value in (-(2**63), -1, 0, 2**31, 2**63 - 1):
                odd = onnx.ModelProto()
                odd.CopyFrom(model)
                target = odd.graph.node[i].attribute[j]
                given = helper.get_attribute_value(target)
                new = value if isinstance(given, int) else [value, *given[1:]]
                target.CopyFrom(helper.make_attribute(attribute.name, new))
                results.append(runs_or_is_refused(odd.SerializeToString(), path, sanitized_kernels))
    assert results.count("refused") > 20
