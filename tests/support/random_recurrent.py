"""Rules for random models with LSTMs and SVDFs, whose states are variable tensors."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.support.random_models import ZERO_POINTS, Current, Draw, _make, _move, scales
from tests.support.tflite_writer import Graph

LSTM_INPUTS = 24
TANH = 4


def weights(
    random: np.random.Generator, graph: Graph, shape: tuple[int, ...], scale: float, size: int = 127
) -> int:
    return graph.constant(random.integers(-size, size + 1, shape).astype(np.int8), (scale,))


def lstm_operator(
    graph: Graph,
    random: np.random.Generator,
    x: int,
    shape: tuple[int, int, int],
    units: int,
    x_scale: float,
    hidden: tuple[float, int],
    cell_exponent: int = -11,
    gain: float = 1.0,
    clip: float = 0.0,
    time_major: bool = False,
    biases: int = 3000,
) -> int:
    """UNIDIRECTIONAL_SEQUENCE_LSTM over [1, T, C] (time major: [T, 1, C]); the output's index.

    gain: of what goes into the gates, around 1 as a rule.
    """
    channels = shape[2]
    inputs = [-1] * LSTM_INPUTS
    inputs[0] = x
    for gate in range(4):
        scale = float(np.float32(gain / (np.sqrt(channels) * 64 * 127 * x_scale)))
        back = float(np.float32(gain / (np.sqrt(units) * 64 * 127 * hidden[0])))
        inputs[1 + gate] = weights(random, graph, (units, channels), scale)
        inputs[5 + gate] = weights(random, graph, (units, units), back)
        terms = random.integers(-biases, biases + 1, units).astype(np.int32)
        inputs[12 + gate] = graph.constant(terms, (float(np.float32(scale * x_scale)),))
    inputs[18] = graph.tensor((1, units), *hidden, variable=True)
    inputs[19] = graph.tensor((1, units), 2.0**cell_exponent, 0, "INT16", variable=True)
    y = graph.tensor((*shape[:2], units), *hidden)
    options = {"FusedActivationFunction": TANH, "CellClip": clip, "TimeMajor": time_major}
    return graph.operator("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, y, options, version=3)


def svdf_operator(
    graph: Graph,
    random: np.random.Generator,
    x: int,
    channels: int,
    sizes: tuple[int, int, int],
    x_scale: float,
    output: tuple[float, int],
    state_scale: float = 2.0**-11,
    gain: float = 1.0,
) -> int:
    """SVDF over [1, C]; sizes: outputs, rank, memory; gain: of features and outputs, around 1."""
    units, rank, memory = sizes
    filters = units * rank
    scale = float(np.float32(gain * 3000 * state_scale / (np.sqrt(channels) * 64 * 127 * x_scale)))
    w = weights(random, graph, (filters, channels), scale)
    largest = 2000
    values = random.integers(-largest, largest + 1, (filters, memory)).astype(np.int16)
    usual = np.sqrt(rank * memory) * largest * 3000 * state_scale
    step = float(np.float32(gain * 60 * output[0] / usual))
    time = graph.constant(values, (step,))
    product = float(np.float32(np.float32(state_scale) * np.float32(step)))
    terms = (random.normal(0, 30, units) * output[0] / product).astype(np.int32)
    bias = graph.constant(terms, (product,))
    state = graph.tensor((1, memory * filters), state_scale, 0, "INT16", variable=True)
    y = graph.tensor((1, units), *output)
    return graph.operator("SVDF", [x, w, time, bias, state], y, {"Rank": rank}, version=3)


def _reshaped(draw: Draw, now: Current, shape: tuple[int, ...]) -> None:
    target = now.graph.constant(np.array(shape, np.int32))
    y = _make(draw, now, shape, now.scale, now.zero_point)
    now.graph.operator("RESHAPE", [now.tensor, target], y, None)
    _move(now, y, shape, now.scale, now.zero_point)


def lstm(draw: Draw, now: Current) -> None:
    """Rows of what there is as steps."""
    channels, major = now.shape[-1], draw(st.booleans())
    steps = int(np.prod(now.shape)) // channels
    _reshaped(draw, now, (steps, 1, channels) if major else (1, steps, channels))
    shape = (now.shape[0], now.shape[1], channels)
    hidden = float(np.float32(1 / 128 * draw(scales(0.3, 1.5)))), draw(ZERO_POINTS)
    units, exponent = draw(st.integers(1, 9)), draw(st.integers(-16, -7))
    gain, clip = draw(scales(0.1, 30.0)), draw(st.sampled_from([0.0, 0.0, 0.4, 10.0]))
    y = lstm_operator(
        now.graph, now.random, now.tensor, shape, units, now.scale, hidden, exponent, gain, clip,
        major,
    )  # fmt: skip
    _move(now, y, (*shape[:2], units), *hidden)


def svdf(draw: Draw, now: Current) -> None:
    """All there is as one row."""
    channels = int(np.prod(now.shape))
    if now.shape != (1, channels):
        _reshaped(draw, now, (1, channels))
    sizes = draw(st.integers(1, 9)), draw(st.integers(1, 3)), draw(st.integers(1, 6))
    output = float(np.float32(draw(scales(1e-3, 1.0)))), draw(ZERO_POINTS)
    state = float(np.float32(draw(scales(1e-5, 1e-2))))
    gain = draw(st.sampled_from([1.0, 1.0, 0.1, 4.0, 60.0]))
    y = svdf_operator(
        now.graph, now.random, now.tensor, channels, sizes, now.scale, output, state, gain
    )
    _move(now, y, (1, sizes[0]), *output)
