"""Post-training quantization: what is written, what is reported, and errors in one line."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinykit.data import Samples, codings
from tinykit.errors import ModelError
from tinykit.importers import load_model
from tinykit.ops.evaluate import evaluate
from tinykit.passes.ports import input_places, output_places

keras = pytest.importorskip("keras", reason="pip install 'tinykit-mcu[tensorflow]'")

from tinykit.compress.quantize import quantize  # noqa: E402
from tinykit.importers.keras import keras_to_tflite, load_keras, open_keras  # noqa: E402

CLASSES = 3


def data(count: int, seed: int) -> tuple[Any, Any]:
    """Waves of three frequencies, [n, 24, 2]."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % CLASSES
    time = np.arange(24)[None, :, None] / 24
    x = np.sin(6.28 * (y[:, None, None] + 1) * time + rng.uniform(0, 6.28, (count, 1, 2)))
    return (x + rng.normal(0, 0.2, x.shape)).astype(np.float32), y


@pytest.fixture(scope="module")
def model() -> Any:
    """A small trained network with a residual, a depthwise layer and batch normalisation."""
    layers = keras.layers
    keras.utils.set_random_seed(1)
    inputs = keras.Input((24, 2))
    x = layers.Conv1D(8, 5, padding="same", use_bias=False, name="stem")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    y = layers.DepthwiseConv1D(3, padding="same", activation="relu", name="deep")(x)
    y = layers.Conv1D(8, 1, name="mix")(y)
    x = layers.GlobalAveragePooling1D(name="pool")(layers.Add(name="join")([x, y]))
    model = keras.Model(inputs, layers.Dense(CLASSES, activation="softmax", name="head")(x))
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(*data(600, 0), epochs=6, batch_size=32, verbose=0)
    return model


@pytest.fixture(scope="module")
def quantized(model: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    out = tmp_path_factory.mktemp("quantized") / "deep" / "waves.tflite"
    report = quantize(model, data(120, 1)[0], out, test=data(150, 2))
    return out, report


def test_file_is_full_int8_and_layers_keep_their_keras_names(quantized: tuple[Path, Any]) -> None:
    graph = load_model(quantized[0])
    assert graph[graph.inputs[0]].dtype == graph[graph.outputs[0]].dtype == "int8"
    names = [op.name for op in graph.ops]
    assert [n for n in ("stem", "deep", "mix", "join", "pool", "head") if n not in names] == []


def test_float_accuracy_is_what_keras_says(model: Any, quantized: tuple[Path, Any]) -> None:
    x, y = data(150, 2)
    keras_accuracy = np.mean(model.predict(x, verbose=0).argmax(axis=1) == y)
    report = quantized[1]
    assert report.accuracy_float == pytest.approx(keras_accuracy)
    assert report.accuracy_float > 0.9
    assert report.evaluated == 150


def test_int8_accuracy_is_what_tflite_micro_says(quantized: tuple[Path, Any]) -> None:
    pytest.importorskip("tflite_micro", reason="pip install tflite-micro")
    out, report = quantized
    script = f"""
import json, sys
import numpy as np
from tflite_micro.python.tflite_micro import runtime
x = np.load({str(out.parent / "x.npy")!r})
interpreter = runtime.Interpreter.from_file({str(out)!r})
scale = interpreter.get_input_details(0)["quantization_parameters"]["scales"][0]
zero = interpreter.get_input_details(0)["quantization_parameters"]["zero_points"][0]
found = []
for sample in x:
    steps = np.clip(np.rint(sample / np.float32(scale)) + zero, -128, 127).astype(np.int8)
    interpreter.set_input(steps[None], 0)
    interpreter.invoke()
    found.append(int(interpreter.get_output(0).argmax()))
json.dump(found, sys.stdout)
"""
    x, y = data(150, 2)
    np.save(out.parent / "x.npy", x)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    found = json.loads(run.stdout[run.stdout.rindex("[") :])
    assert report.accuracy_int8 == pytest.approx(np.mean(np.array(found) == y), abs=0.01)


def test_layer_errors_show_where_precision_is_lost(quantized: tuple[Path, Any]) -> None:
    layers = {layer.name: layer for layer in quantized[1].layers}
    assert {"stem", "deep", "mix", "join", "head"} <= set(layers)
    assert all(layer.signal_to_noise > 15 for layer in layers.values())
    assert all(0 <= layer.clipped < 0.01 for layer in layers.values())
    assert quantized[1].weakest.signal_to_noise == min(x.signal_to_noise for x in layers.values())
    json.dumps(quantized[1].as_dict())


def test_ranges_too_narrow_for_the_data_are_reported(model: Any, tmp_path: Path) -> None:
    """Ranges from samples a tenth as large: accuracy measured on real ones must suffer."""
    x, y = data(90, 3)
    report = quantize(model, x * 0.1, tmp_path / "narrow.tflite", test=(x, y))
    assert report.accuracy_int8 < report.accuracy_float - 0.1
    assert report.warning is not None
    assert "90 samples" in report.warning


def test_import_of_a_keras_file_needs_samples(model: Any, tmp_path: Path) -> None:
    path = tmp_path / "waves.keras"
    model.save(path)
    with pytest.raises(ModelError, match="must be quantized with samples") as caught:
        load_model(path)
    assert "tinykit quantize" in caught.value.hint
    graph = load_keras(path, data(100, 1)[0])
    assert graph[graph.inputs[0]].shape == (1, 24, 2)
    assert keras_to_tflite(path, data(100, 1)[0])[4:8] == b"TFL3"


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.zeros((4, 24, 3), np.float32), "[4, 24, 3]"),
        (np.zeros((0, 24, 2), np.float32), "[0, 24, 2]"),
        (np.zeros((4, 24, 2), np.int8), "int8"),
        (np.full((4, 24, 2), np.nan, np.float32), "NaN"),
    ],
)
def test_samples_that_do_not_match_are_one_clear_line(
    model: Any, samples: Any, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError) as caught:
        quantize(model, samples, tmp_path / "no.tflite")
    assert words in caught.value.message
    assert "\n" not in caught.value.message
    assert not (tmp_path / "no.tflite").exists()


def test_labels_must_be_as_many_as_samples(model: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="20 samples but 3 labels"):
        quantize(model, data(20, 1)[0], tmp_path / "no.tflite", labels=[0, 1, 2])


def test_files_that_are_no_model_are_one_clear_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.keras"
    broken.write_bytes(b"not a model")
    for path, words in ((broken, "cannot open it"), (tmp_path / "absent.keras", "no such file")):
        with pytest.raises(ModelError, match=words) as caught:
            open_keras(path)
        assert "\n" not in caught.value.message


def test_a_model_without_a_fixed_size_is_refused() -> None:
    layers = keras.layers
    inputs = keras.Input((None, 2))
    pooled = layers.GlobalAveragePooling1D()(layers.Conv1D(4, 3)(inputs))
    with pytest.raises(ModelError, match="unknown size"):
        keras_to_tflite(keras.Model(inputs, pooled), np.zeros((2, 24, 2), np.float32))


def test_infinite_ratio_of_an_exact_layer() -> None:
    from tinykit.compress.quantize import _decibel

    assert _decibel(1.0, 0.0) == math.inf
    assert _decibel(100.0, 1.0) == pytest.approx(20.0)


def test_quantizing_writes_nothing_to_stderr(model: Any, tmp_path: Path) -> None:
    """In a process of its own, as a user runs it: TensorFlow's chatter stays away."""
    path = tmp_path / "waves.keras"
    model.save(path)
    script = (
        "import numpy as np; from pathlib import Path\n"
        "from tinykit.compress.quantize import quantize\n"
        f"x = np.random.default_rng(0).normal(size=(20, 24, 2)).astype(np.float32)\n"
        f"quantize({str(path)!r}, x, Path({str(tmp_path / 'out.tflite')!r}))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stderr == ""
    assert (tmp_path / "out.tflite").stat().st_size > 1000


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    """In Keras's order, as blocks: two views of one thing, where it is and what it is."""
    keras.utils.set_random_seed(2)
    first, second = keras.Input((6,), name="z_first"), keras.Input((4, 2), name="a_second")
    both = keras.layers.Concatenate()([first, keras.layers.Flatten()(second)])
    where = keras.layers.Dense(5, name="where")(both)
    what = keras.layers.Dense(3, activation="softmax", name="what")(both)
    model = keras.Model([first, second], [where, what])
    x = np.random.default_rng(0).normal(0, 1, (120, 14)).astype(np.float32)
    out = tmp_path / "two.tflite"
    report = quantize(model, x, out)
    assert report.agreement > 0.9
    graph = load_model(out)
    assert [place.tensor.shape for place in input_places(graph)] == [(1, 6), (1, 4, 2)]
    assert [place.tensor.shape for place in output_places(graph)] == [(1, 5), (1, 3)]
    codes = Samples(x, None, "x").quantized(codings(graph))
    expected = [np.array(y) for y in model([x[:, :6], x[:, 6:].reshape(-1, 4, 2)])]
    for i in range(20):
        block = evaluate(graph, {graph.inputs[0]: codes[i]})[graph.outputs[0]][0]
        for place, real in zip(output_places(graph), expected, strict=True):
            quant = place.tensor.quant
            found = block[place.first : place.first + place.tensor.size].astype(float)
            error = (found - quant.zero_point0) * quant.scale0 - real[i]
            assert np.abs(error).max() < 0.1
    with pytest.raises(ModelError, match="has 2 outputs; labels are for one"):
        quantize(model, x, out, labels=np.zeros(120))
