"""TFLM's audio preprocessor as a frontend: the rows of a .tflite of Signal* operators, run by TFLM
window by window, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flatbuffers import flexbuffers

from tests.frontend.test_audio_frontend import NARROW, PLAIN, WIDE, recording, spoken
from tests.host.test_wake_words import model
from tests.support.audio_frontend import C
from tests.support.tflite_writer import Graph, write
from tinykit.config import parse_config
from tinykit.errors import ModelError, UsageError
from tinykit.frontend import AudioFrontend
from tinykit.frontend.audio import NOISE_BITS, WINDOW_BITS
from tinykit.frontend.reference import AudioReference
from tinykit.importers import load_model
from tinykit.importers.preprocessor import read_preprocessor
from tinykit.ir import Array
from tinykit.project import Project

Change = Callable[[Graph], None]


def padded(f: AudioFrontend, block: int) -> tuple[Array, ...]:
    """The filter bank's tables as TFLM's script lays them out: ranges begin at multiples of a block
    and are as long as some, filled up with zeros."""
    t, last = f.tables, f.fft // 2 + 1
    weights, unweights, bins, offsets, widths = [], [], [], [], []
    for start, offset, width in zip(t.bins, t.offsets, t.widths, strict=True):
        first = start - start % block
        end = min(-(-(start + width) // block) * block, last)
        for table, out in ((t.weights, weights), (t.unweights, unweights)):
            out += [0] * (start - first) + list(table[offset : offset + width])
            out += [0] * (end - start - width)
        bins.append(first)
        widths.append(end - first)
        offsets.append(len(weights) - (end - first))
    tables = (weights, unweights, bins, offsets, widths)
    return tuple(np.array(table, np.int16) for table in tables)


def preprocessor(f: AudioFrontend, tail: str = "int8", block: int = 4) -> Graph:
    """What TFLM's audio_preprocessor.py makes: one window in, one row of features out."""
    g, t = Graph(), f.tables
    bins, channels = f.fft // 2 + 1, f.channels

    def signal(name: str, inputs: list[int], outputs: list[int], **options: int | bool) -> int:
        data = {"bytes": bytes(flexbuffers.Dumps(options))}
        return g.operator(f"CUSTOM:{name}", inputs, outputs, data)

    def make(kind: str, *shape: int) -> int:
        return g.tensor(shape, None, type=kind)

    def whole(*values: int) -> int:
        return g.constant(np.array(values, np.int32))

    g.inputs = [make("INT16", 1, f.frame)]
    x = signal(
        "SignalWindow", [g.inputs[0], g.constant(t.window)], [make("INT16", 1, f.frame)],
        shift=WINDOW_BITS,
    )  # fmt: skip
    x = g.operator("RESHAPE", [x, whole(-1)], make("INT16", f.frame))
    shift = make("INT32")
    x = signal("SignalFftAutoScale", [x], [make("INT16", f.frame), shift])
    x = signal("SignalRfft", [x], [make("INT16", 2 * bins)], T=7, fft_length=f.fft)
    limits = {"start_index": f.first_bin, "end_index": f.end_bin}
    x = signal("SignalEnergy", [x], [make("UINT32", bins)], **limits)
    x = g.operator("CAST", [x], make("INT32", bins))
    inside = make("INT32", f.end_bin - f.first_bin)
    x = g.operator("STRIDED_SLICE", [x, whole(f.first_bin), whole(f.end_bin), whole(1)], inside)
    zeros = [g.constant(np.zeros(n, np.int32)) for n in (f.first_bin, bins - f.end_bin)]
    x = g.operator("CONCATENATION", [zeros[0], x, zeros[1]], make("INT32", bins), {"Axis": 0})
    x = g.operator("CAST", [x], make("UINT32", bins))
    filters = [g.constant(table) for table in padded(f, block)]
    x = signal("SignalFilterBank", [x, *filters], [make("UINT64", channels)], num_channels=channels)
    x = signal("SignalFilterBankSquareRoot", [x, shift], [make("UINT32", channels)])
    estimate = make("UINT32", channels)
    (even, odd), (rest_even, rest_odd) = f.smoothing()
    x = signal(
        "SignalFilterBankSpectralSubtraction", [x], [make("UINT32", channels), estimate],
        alternate_one_minus_smoothing=rest_odd, alternate_smoothing=odd, clamping=f.clamping,
        min_signal_remaining=f.least_signal, num_channels=channels, one_minus_smoothing=rest_even,
        smoothing=even, smoothing_bits=f.smoothing_bits, spectral_subtraction_bits=NOISE_BITS,
    )  # fmt: skip
    if f.pcan:
        gain = g.constant(t.gain)
        x = signal(
            "SignalPCAN", [x, estimate, gain], [make("UINT32", channels)], snr_shift=f.snr_shift
        )
    x = signal(
        "SignalFilterBankLog", [x], [make("INT16", channels)],
        input_correction_bits=f.correction, output_scale=f.log_scale,
    )  # fmt: skip
    if tail == "float":
        x = g.operator("CAST", [x], make("FLOAT32", channels))
        x = g.operator(
            "DIV", [x, g.constant(np.array(25.6, np.float32))], make("FLOAT32", channels)
        )
    if tail == "int8":
        x = g.operator("CAST", [x], make("INT32", channels))
        for kind, value in (
            ("MUL", f.multiplier), ("ADD", f.divisor // 2), ("DIV", f.divisor),
            ("ADD", f.zero_point), ("MAXIMUM", -128), ("MINIMUM", 127),
        ):  # fmt: skip
            x = g.operator(kind, [x, whole(value)], make("INT32", channels))
        x = g.operator("CAST", [x], make("INT8", channels))
    g.outputs = [x]
    return g


def saved(graph: Graph, folder: Path) -> Path:
    path = folder / "preprocessor.tflite"
    path.write_bytes(write(graph))
    return path


def tflm_rows(graph: Graph, f: AudioFrontend, samples: Array) -> Array:
    """TFLM's rows of a recording, a window after the other."""
    from tflite_micro.python.tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(write(graph), arena_size=1 << 18)
    rows = []
    for start in range(0, len(samples) - f.frame + 1, f.hop):
        interpreter.set_input(samples[None, start : start + f.frame], 0)
        interpreter.invoke()
        rows.append(np.array(interpreter.get_output(0)).reshape(-1))
    return np.array(rows)


@pytest.mark.parametrize("frontend", [WIDE, NARROW, PLAIN], ids=["wide", "narrow", "plain"])
def test_rows_are_tflms(frontend: AudioFrontend, shared: Path, tmp_path: Path) -> None:
    """Whatever the settings were, and however the file pads its tables."""
    samples = np.concatenate([spoken(shared)[:24000], recording("noise"), recording("steps")])
    for block in (1, 4):
        graph = preprocessor(frontend, block=block)
        path = saved(graph, tmp_path)
        found = read_preprocessor(path, sample_rate=frontend.sample_rate, hop_ms=frontend.hop_ms)
        golden = tflm_rows(graph, frontend, samples)
        assert golden.std() > 10
        np.testing.assert_array_equal(C(found).push(samples, 1000)[0], golden)
        np.testing.assert_array_equal(AudioReference(found).push(samples)[0], golden)
        assert found.tables.bytes <= frontend.tables.bytes


def test_a_model_takes_its_preprocessor_along(tmp_path: Path) -> None:
    """[frontend] preprocessor in front of a wake word: TFLM's rows, three by three."""
    graph = preprocessor(WIDE, tail="float")
    saved(graph, tmp_path)
    text = f'[model]\npath = "{model("okay_nabu")}"\n[frontend]\nkind = "audio"\n'
    (tmp_path / "tinykit.toml").write_text(text + 'preprocessor = "preprocessor.tflite"\n')
    project = Project.open(tmp_path)
    project.generate()
    host, x = project.reference(), recording("noise")
    inputs, rest = [], x
    while len(rest):
        taken, done = host.push(rest)
        rest = rest[taken:]
        if done is not None:
            inputs.append(done.reshape(-1))
    port = host.manifest.input
    real = tflm_rows(graph, WIDE, x)[: 3 * len(inputs)].reshape(len(inputs), -1)
    exact = (real / port.scale + port.zero_point).clip(-128, 127)
    assert exact.std() > 10
    assert np.abs(np.array(inputs) - exact).max() <= 0.501


def changed(change: Change) -> Graph:
    graph = preprocessor(WIDE)
    change(graph)
    return graph


def options(name: str, **values: int) -> Change:
    """Another value among the options of a Signal operator."""

    def change(graph: Graph) -> None:
        (op,) = [op for op in graph.operators if op.builtin == f"CUSTOM:{name}"]
        assert op.options is not None
        old = flexbuffers.Loads(op.options["bytes"])
        op.options = {"bytes": bytes(flexbuffers.Dumps(old | values))}

    return change


def without(builtin: str) -> Change:
    def change(graph: Graph) -> None:
        graph.operators = [op for op in graph.operators if op.builtin != builtin]

    return change


def renamed(old: str, new: str) -> Change:
    def change(graph: Graph) -> None:
        for op in graph.operators:
            op.builtin = new if op.builtin == old else op.builtin

    return change


def table(i: int, change_table: Callable[[Array], Array]) -> Change:
    """Another table of the filter bank."""

    def change(graph: Graph) -> None:
        (op,) = [op for op in graph.operators if op.builtin == "CUSTOM:SignalFilterBank"]
        tensor = graph.tensors[op.inputs[i]]
        assert tensor.data is not None
        tensor.data = change_table(np.frombuffer(tensor.data, np.int16)).astype(np.int16).tobytes()

    return change


REFUSED: list[tuple[Change, str]] = [
    (
        renamed("CUSTOM:SignalRfft", "CUSTOM:SignalIrfft"),
        "SignalIrfft #3 (version 1): is no part",
    ),
    (without("CUSTOM:SignalEnergy"), "CAST #4 (version 1): is no part of a frontend"),
    (without("CUSTOM:SignalFftAutoScale"), "SignalRfft #2 (version 1): where SignalFftAutoScale"),
    (without("CUSTOM:SignalFilterBankLog"), "is no part of a frontend"),
    (renamed("CONCATENATION", "TILE"), "TILE #7 (version 1): is no part of a frontend"),
    (options("SignalWindow", shift=11), "shift is not 12"),
    (options("SignalRfft", fft_length=500), "fft_length 500 is no power of two"),
    (options("SignalRfft", fft_length=8192), "fft_length is not there, or not 64 to 4096"),
    (options("SignalRfft", T=1), "is not of int16"),
    (options("SignalEnergy", end_index=300), "end_index is not there, or not"),
    (options("SignalFilterBank", num_channels=39), "its tables reach outside of each other"),
    (options("SignalPCAN", snr_shift=64), "snr_shift is not there"),
    (table(3, lambda t: t + 90), "its tables reach outside of each other"),
    (table(1, lambda t: -t), "its tables reach outside of each other"),
    (renamed("DIV", "FLOOR_DIV"), "FLOOR_DIV #17 (version 1): is no part of a frontend"),
    (renamed("MUL", "SUB"), "makes int8 of features in another way"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_what_is_no_frontend_is_refused(change: Change, message: str, tmp_path: Path) -> None:
    path = saved(changed(change), tmp_path)
    with pytest.raises(ModelError) as caught:
        read_preprocessor(path, sample_rate=16000, hop_ms=10)
    assert message in caught.value.message
    assert caught.value.message.startswith(f"{path}: ")
    assert caught.value.hint


def test_as_a_model_it_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load_model(saved(preprocessor(WIDE), tmp_path))
    assert "CUSTOM SignalWindow #0" in caught.value.message
    assert "version 1" in caught.value.message
    assert '[frontend] kind = "audio", preprocessor =' in caught.value.hint


def test_what_does_not_go_with_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="channels is what the preprocessor says"):
        parse_config('[frontend]\nkind = "audio"\npreprocessor = "p.tflite"\nchannels = 3\n')
    path = saved(preprocessor(WIDE), tmp_path)
    with pytest.raises(UsageError, match="hop_ms = 31"):
        read_preprocessor(path, sample_rate=16000, hop_ms=31)
    with pytest.raises(UsageError, match="mfcc = 41"):
        read_preprocessor(path, sample_rate=16000, hop_ms=10, mfcc=41)
    text = f'[model]\npath = "{model("okay_nabu")}"\n[frontend]\nkind = "audio"\n'
    text += 'preprocessor = "preprocessor.tflite"\nfeature_scale = 2.0\n'
    (tmp_path / "tinykit.toml").write_text(text)
    with pytest.raises(UsageError, match="says itself what a feature is"):
        Project.open(tmp_path).frontend()


def test_damaged_files_end_in_one_line(tmp_path: Path) -> None:
    """Whatever byte is another: a frontend that can be run, or an error of ours."""
    content, random = write(preprocessor(WIDE)), np.random.default_rng(1)
    path, errors = tmp_path / "damaged.tflite", []
    for _ in range(400):
        damaged = bytearray(content)
        for at in random.integers(0, len(content), 3):
            damaged[at] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            found = read_preprocessor(path, sample_rate=16000, hop_ms=10)
        except (ModelError, UsageError) as error:
            errors.append(str(error))
            continue
        AudioReference(found).push(recording("noise")[:1000])
    assert 10 < len(errors) < 390
    assert not any("\n" in error for error in errors)
