"""Streaming models: ring buffers in variables, as the converter writes them for wake words."""

from __future__ import annotations

import numpy as np

from tests.support.tflite_writer import Graph, write

CHANNELS, NEW, KEPT = 6, 2, 4  # features; rows that arrive in a run; rows that stay


def streaming_model(seed: int = 0, kind: type[Graph] = Graph) -> bytes:
    """Two layers, each behind a ring buffer of its own; a new frame of [1, NEW, 1, CHANNELS]."""
    random = np.random.default_rng(seed)
    main, setup = kind(), kind()
    x = main.tensor((1, NEW, 1, CHANNELS), 0.1, -3)
    main.operator("CALL_ONCE", [], [], {"InitSubgraphIndex": 1})
    y = _buffered(main, setup, x, "first", random, (0.1, -3))
    y = _conv(main, y, NEW, random, (0.13, 5))
    y = _buffered(main, setup, y, "second", random, (0.13, 5))
    y = _conv(main, y, 1, random, (0.2, -20))
    main.inputs, main.outputs = [x], [y]
    return write(main, setup)


def _buffered(
    main: Graph, setup: Graph, x: int, name: str, random: np.random.Generator,
    quant: tuple[float, int],
) -> int:  # fmt: skip
    """[1, KEPT + NEW, 1, CHANNELS]: what was kept and what is new; the last KEPT rows stay."""
    scale, zero = quant
    options = {"Container": "", "SharedName": name}
    values = random.integers(-128, 128, (1, KEPT, 1, CHANNELS)).astype(np.int8)
    handle = setup.tensor((), None, type="RESOURCE")
    setup.operator("VAR_HANDLE", [], handle, options)
    setup.operator("ASSIGN_VARIABLE", [handle, setup.constant(values, (scale,), (zero,))], [])
    handle = main.tensor((), None, type="RESOURCE")
    main.operator("VAR_HANDLE", [], handle, options)
    kept = main.tensor(values.shape, scale, zero)
    main.operator("READ_VARIABLE", [handle], kept)
    both = main.tensor((1, KEPT + NEW, 1, CHANNELS), scale, zero)
    main.operator("CONCATENATION", [kept, x], both, {"Axis": 1}, version=2)
    stays = main.tensor(values.shape, scale, zero)
    ends = [np.array(v, np.int32) for v in ((0, NEW, 0, 0), (0, 0, 0, 0), (1, 1, 1, 1))]
    inputs = [both, *(main.constant(v) for v in ends)]
    masks = {"BeginMask": 13, "EndMask": 15}
    main.operator("STRIDED_SLICE", inputs, stays, masks, version=2)
    main.operator("ASSIGN_VARIABLE", [handle, stays], [])
    return both


def _conv(
    main: Graph, x: int, rows: int, random: np.random.Generator,
    quant: tuple[float, int],
) -> int:  # fmt: skip
    """To [1, rows, 1, CHANNELS], over as many rows as that leaves."""
    reach = KEPT + NEW - rows + 1
    weights = random.integers(-127, 128, (CHANNELS, reach, 1, CHANNELS)).astype(np.int8)
    w = main.constant(weights, (0.003,))
    b = main.constant(random.integers(-500, 500, CHANNELS).astype(np.int32), (0.0003,))
    y = main.tensor((1, rows, 1, CHANNELS), *quant)
    options = {"Padding": 1, "StrideH": 1, "StrideW": 1}
    return main.operator("CONV_2D", [x, w, b], y, options, version=3)
