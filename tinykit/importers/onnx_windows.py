"""ONNX's convolutions, poolings and resizes: windows over height and width (or time alone)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tinykit.importers.onnx import Importer
from tinykit.importers.onnx_file import OnnxNode
from tinykit.importers.onnx_values import Codes, Value, channels_last, layer_name
from tinykit.ir import Array
from tinykit.ops.window import same_padding

LARGEST = 65535


@dataclass(frozen=True)
class _Window:
    """Of a node's attributes, for height and width: a sequence is a map of one row."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    before: tuple[int, int]
    after: tuple[int, int]

    @property
    def options(self) -> dict[str, int | float]:
        options: dict[str, int | float] = {
            "StrideH": self.stride[0], "StrideW": self.stride[1],
            "DilationHFactor": self.dilation[0], "DilationWFactor": self.dilation[1],
            "FilterHeight": self.kernel[0], "FilterWidth": self.kernel[1], "Padding": 1,
        }  # fmt: skip
        if any(self.before + self.after):
            options |= {"PadTop": self.before[0], "PadBottom": self.after[0],
                        "PadLeft": self.before[1], "PadRight": self.after[1]}  # fmt: skip
        return options


def _image(node: OnnxNode, value: Value) -> tuple[int, int]:
    """(height, width) of a map [1, C, H, W], or (1, length) of a sequence [1, C, L]."""
    node.expect(
        value.rank in (3, 4), f"input {list(value.shape)}; supported are [1, C, H, W], [1, C, L]"
    )
    return (1, *value.shape[2:])[-2:]  # type: ignore[return-value]


def _window(node: OnnxNode, x: Value, kernel: list[int], ceil: tuple[int, ...] = ()) -> _Window:
    """ceil: the output's sizes, to which padding behind may have to be added."""
    axes = x.rank - 2
    size = list(x.shape[2:])
    stride, dilation = node.integers("strides", [1] * axes), node.integers("dilations", [1] * axes)
    pads = node.integers("pads", [0] * 2 * axes)
    before, after = pads[:axes], pads[axes:]
    node.expect(
        len(kernel) == axes and min(*kernel, *stride, *dilation) > 0 and min(pads) >= 0
        and max(*kernel, *stride, *dilation, *pads, *size) <= LARGEST,
        f"kernel {kernel}, strides {stride}, dilations {dilation}, pads {pads}",
    )  # fmt: skip
    mode = node.text("auto_pad", "NOTSET")
    node.expect(mode in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"), f"auto_pad {mode}")
    if mode == "VALID":
        before, after = [0] * axes, [0] * axes
    elif mode != "NOTSET":
        pairs = [
            same_padding(n, k, s, d)
            for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)
        ]
        pairs = [pair[::-1] for pair in pairs] if mode == "SAME_LOWER" else pairs
        before, after = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    for i, out in enumerate(ceil):
        reach = (out - 1) * stride[i] + kernel[i] - size[i] - before[i]
        after[i] = max(after[i], reach)

    def pair(values: list[int], row: int) -> tuple[int, int]:
        return (row, values[0]) if axes == 1 else (values[0], values[1])

    return _Window(
        pair(kernel, 1), pair(stride, 1), pair(dilation, 1), pair(before, 0), pair(after, 0)
    )


def _over_maps(
    imp: Importer,
    node: OnnxNode,
    builtin: str,
    x: Value,
    constants: list[int],
    codes: Codes,
    options: dict[str, int | float],
) -> None:
    """An operator over [1, H, W, C]; a sequence becomes a map of one row, and one again."""
    order = channels_last(x.rank)
    index = imp.stored(x, order)
    if x.rank == 4:
        imp.made(node, builtin, [index, *constants], order, codes, options)
        return
    _, channels, length = x.shape
    row = imp.reshape_to(index, (1, 1, length, channels), x.codes, x.name, node.place)
    _, channels, length = imp.shape(node, node.outputs[0])
    made = imp.tensor(layer_name(node), (1, 1, length, channels), codes)
    imp.operator(builtin, [row, *constants], [made], options, node.place)
    y = imp.reshape_to(made, (1, length, channels), codes, node.outputs[0], node.place)
    imp.known(node, Value(node.outputs[0], (1, channels, length), codes, {order: y}))


def conv(imp: Importer, node: OnnxNode) -> None:
    x, w = imp.input(node), imp.input(node, 1)
    _image(node, x)
    node.expect(
        w.data is not None and w.rank == x.rank,
        f"weights {list(w.shape)} must be a constant of {x.rank} dimensions",
    )
    assert w.data is not None
    if w.channel_scales is not None:
        node.expect(w.channel_scales[0] == 0, "weights have a scale for each input channel")
    group, channels, outputs = node.integer("group", 1), x.shape[1], w.shape[0]
    depthwise = group == channels and w.shape[1] == 1 and group > 1
    node.expect(
        group == 1 or depthwise,
        f"{group} groups of {channels} channels",
        "supported are one group, and depthwise: a group for each channel",
    )
    node.expect(
        w.shape[1] == (1 if depthwise else channels) and (not depthwise or outputs % channels == 0),
        f"weights {list(w.shape)} do not fit input {list(x.shape)}",
    )
    window = _window(node, x, list(w.shape[2:]))
    data = w.data.reshape(outputs, w.shape[1], *window.kernel)
    data = data.transpose(1, 2, 3, 0) if depthwise else data.transpose(0, 2, 3, 1)
    constants = [imp.weights(w, data, 3 if depthwise else 0)]
    found = bias(imp, node, x, w, outputs)
    constants += [] if found is None else [found]
    options = window.options
    if depthwise:
        options["DepthMultiplier"] = outputs // channels
    builtin = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    _over_maps(imp, node, builtin, x, constants, imp.output_codes(node), options)


def bias(imp: Importer, node: OnnxNode, x: Value, w: Value, channels: int) -> int | None:
    """The int32 bias of a layer, of scale s_x·s_w; others are brought to that scale."""
    if not node.has(2):
        return None
    name = node.inputs[2]
    weight_scales = w.channel_scales[1] if w.channel_scales else (w.codes.scale,)
    scale = np.float32(x.codes.scale) * np.asarray(weight_scales, np.float32)
    if name in imp.biases:
        source = imp.biases[name]
        data, (given, zero) = imp.model.constants[source.inputs[0]], imp.parameters(source)
        node.expect(not zero.any(), f"bias {name} has a zero point")
        node.expect(given.size in (1, data.size), f"bias {name} has {given.size} scales")
        codes = data.astype(np.int64).reshape(-1)
        if given.size not in (1, scale.size) or not np.allclose(given.reshape(-1), scale, 1e-5, 0):
            codes = np.rint(codes * (given.reshape(-1).astype(np.float64) / scale))
    elif name in imp.model.constants and imp.model.constants[name].dtype == np.float32:
        codes = np.rint(imp.model.constants[name].reshape(-1).astype(np.float64) / scale)
    elif name in imp.values and imp.values[name].data is not None:
        value = imp.values[name]
        assert value.data is not None
        real = value.data.reshape(-1).astype(np.float64) - value.codes.zero_point
        codes = np.rint(real * value.codes.scale / scale)
    else:
        raise node.error(f"bias {name} must be constant")
    node.expect(codes.size in (1, channels), f"bias {name}: {codes.size} values for {channels}")
    node.expect(bool(np.isfinite(codes).all()), f"bias {name} is not finite")
    limited = np.clip(np.broadcast_to(codes, (channels,)), -(2**31), 2**31 - 1).astype(np.int32)
    return imp.bias(name, limited, tuple(float(s) for s in scale))


def conv_transpose(imp: Importer, node: OnnxNode) -> None:
    """TRANSPOSE_CONV, of which the padding is cut off."""
    x, w = imp.input(node), imp.input(node, 1)
    node.expect(x.rank == 4 and w.rank == 4, f"input {list(x.shape)}; supported is [1, C, H, W]")
    node.expect(w.data is not None, "weights must be constant")
    assert w.data is not None
    node.expect(node.integer("group", 1) == 1, "groups are not supported")
    if w.channel_scales is not None:
        node.expect(w.channel_scales[0] == 1, "weights have a scale for each input channel")
    window = _window(node, x, list(w.shape[2:]))
    node.expect(window.dilation == (1, 1), "dilation is not supported")
    node.expect(node.text("auto_pad", "NOTSET") in ("NOTSET", "VALID"), "auto_pad is not supported")
    made = imp.shape(node, node.outputs[0])
    cut, codes = window.before, imp.output_codes(node)
    full = np.array([1, made[2] + cut[0], made[3] + cut[1], made[1]], np.int32)
    weights = imp.weights(w, w.data.transpose(1, 2, 3, 0), 0)
    inputs = [imp.constant("size", full), weights, imp.stored(x, channels_last(4))]
    found = bias(imp, node, x, w, w.shape[1])
    inputs += [] if found is None else [found]
    order = channels_last(4)
    if not any(cut):
        imp.made(node, "TRANSPOSE_CONV", inputs, order, codes, window.options)
        return
    whole = imp.tensor(layer_name(node), tuple(int(n) for n in full), codes)
    options = {k: v for k, v in window.options.items() if not k.startswith("Pad")}
    imp.operator("TRANSPOSE_CONV", inputs, [whole], options | {"Padding": 1}, node.place)
    begin, size = np.array([0, *cut, 0], np.int32), np.array([1, *made[2:], made[1]], np.int32)
    parts = [whole, imp.constant("begin", begin), imp.constant("size", size)]
    imp.made(node, "SLICE", parts, order, codes, name=f"{layer_name(node)}_cut")


def pool(builtin: str) -> Callable[[Importer, OnnxNode], None]:
    def convert(imp: Importer, node: OnnxNode) -> None:
        x = imp.input(node)
        _image(node, x)
        axes = x.rank - 2
        kernel = node.integers("kernel_shape", [0] * axes)
        ceil = node.integer("ceil_mode")
        made = imp.shape(node, node.outputs[0])
        window = _window(node, x, kernel, made[2:] if ceil else ())
        node.expect(len(node.outputs) == 1, "indices as a second output are not supported")
        node.expect(window.dilation == (1, 1), "dilation is not supported")
        node.expect(
            all(
                max(p) < k for k, *p in zip(window.kernel, window.before, window.after, strict=True)
            ),
            "pads are as large as the kernel",
        )
        options = window.options
        counts = builtin == "AVERAGE_POOL_2D" and node.integer("count_include_pad")
        if counts and any(window.before + window.after):
            node.expect(not ceil, "ceil_mode with count_include_pad is not supported")
            x = _padded(imp, node, x, window)
            options = {k: v for k, v in options.items() if not k.startswith("Pad")}
            options["Padding"] = 1
        _over_maps(imp, node, builtin, x, [], x.codes, options)

    return convert


def _padded(imp: Importer, node: OnnxNode, x: Value, window: _Window) -> Value:
    """With zeros around, which count."""
    pads = list(zip(window.before, window.after, strict=True))[4 - x.rank :]
    amounts = np.array([(0, 0), *pads, (0, 0)], np.int32)
    size = [n + sum(p) for n, p in zip(x.shape[2:], pads, strict=True)]
    order = channels_last(x.rank)
    index = imp.tensor(f"{x.name}_padded", (1, *size, x.shape[1]), x.codes)
    inputs = [imp.stored(x, order), imp.constant("pads", amounts)]
    imp.operator("PAD", inputs, [index], {}, node.place)
    return Value(f"{x.name}_padded", (1, x.shape[1], *size), x.codes, {order: index})


def global_pool(builtin: str) -> Callable[[Importer, OnnxNode], None]:
    def convert(imp: Importer, node: OnnxNode) -> None:
        x = imp.input(node)
        _image(node, x)
        order = channels_last(x.rank)
        axes = imp.constant("axes", np.arange(1, x.rank - 1, dtype=np.int32))
        codes = x.codes if builtin == "REDUCE_MAX" else imp.output_codes(node)
        inputs = [imp.stored(x, order), axes]
        imp.made(node, builtin, inputs, order, codes, {"KeepDims": 1})

    return convert


# --- resize ---------------------------------------------------------------------------------------

_TFLITE: tuple[dict[str, int], ...] = ({}, {"HalfPixelCenters": 1}, {"AlignCorners": 1})


def resize(imp: Importer, node: OnnxNode) -> None:
    """RESIZE_…, in the one of TFLite's three ways that reads the same places of these sizes."""
    x = imp.input(node)
    node.expect(x.rank == 4, f"input {list(x.shape)}; supported is [1, C, H, W]")
    made = imp.shape(node, node.outputs[0])
    node.expect(made[:2] == x.shape[:2], f"makes {list(made)} of {list(x.shape)}")
    node.expect(max(made) <= LARGEST, f"makes {list(made)}")
    mode = node.text("mode", "nearest")
    node.expect(
        mode in ("nearest", "linear") and not node.integer("antialias"),
        f"mode {mode} (or antialias); supported are nearest and linear",
    )
    scales = [m / n for m, n in zip(made[2:], x.shape[2:], strict=True)]
    given = imp.model.constants.get(node.inputs[2]) if node.has(2) else None
    if given is not None and given.size in (2, 4):
        scales = [float(s) for s in given.flat][-2:]
    sizes = list(zip(x.shape[2:], made[2:], scales, strict=True))
    wanted = [_places(node, mode, *size) for size in sizes]
    for options in _TFLITE:
        found = [_tflite_places(mode, options, n, m) for n, m, _ in sizes]
        if all(np.allclose(a, b, 0, 1e-5) for a, b in zip(wanted, found, strict=True)):
            break
    else:
        raise node.error(
            f"{mode} with {node.text('coordinate_transformation_mode', 'half_pixel')} from "
            f"{list(x.shape[2:])} to {list(made[2:])} reads other places than TFLite can",
            "supported is what TFLite has: asymmetric, half_pixel, align_corners",
        )
    order = channels_last(4)
    inputs = [imp.stored(x, order), imp.constant("size", np.array(made[2:], np.int32))]
    builtin = "RESIZE_BILINEAR" if mode == "linear" else "RESIZE_NEAREST_NEIGHBOR"
    imp.made(node, builtin, inputs, order, x.codes, dict(options))


def _places(node: OnnxNode, mode: str, n: int, made: int, scale: float) -> Array:
    """Where along an axis ONNX reads: indices, or positions between them."""
    i = np.arange(made, dtype=np.float64)
    ways = {
        "half_pixel": (i + 0.5) / scale - 0.5,
        "pytorch_half_pixel": (i + 0.5) / scale - 0.5 if made > 1 else 0 * i,
        "align_corners": i * (n - 1) / max(made - 1, 1),
        "asymmetric": i / scale,
    }
    way = node.text("coordinate_transformation_mode", "half_pixel")
    node.expect(way in ways, f"coordinate_transformation_mode {way} is not supported")
    at = ways[way]
    if mode == "nearest":
        rounding: dict[str, Array] = {
            "round_prefer_floor": np.ceil(at - 0.5), "round_prefer_ceil": np.floor(at + 0.5),
            "floor": np.floor(at), "ceil": np.ceil(at),
        }  # fmt: skip
        at = rounding[node.text("nearest_mode", "round_prefer_floor")]
    return np.asarray(np.clip(at, 0, n - 1))


def _tflite_places(mode: str, options: dict[str, int], n: int, made: int) -> Array:
    """The same for RESIZE_NEAREST_NEIGHBOR, RESIZE_BILINEAR."""
    i, half = np.arange(made, dtype=np.float64), 0.5 * ("HalfPixelCenters" in options)
    corners = "AlignCorners" in options and made > 1
    at = (i + half) * ((n - 1) / (made - 1) if corners else n / made)
    if mode == "nearest":
        return np.asarray(np.clip(np.floor(at + 0.5 * corners), 0, n - 1))
    return np.asarray(np.clip(at - half, 0, n - 1))
