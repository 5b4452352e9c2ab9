"""Post-training quantization of an ONNX model by onnxruntime, to the form that tinykit imports.

Int8 activations and symmetric per-channel int8 weights, Quantize- and DequantizeLinear around
every operator (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).
Batch normalizations are folded before.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinykit.compress.quantize import QuantizationReport, checked_labels
from tinykit.errors import ModelError, TinykitError
from tinykit.importers.keras import FloatArray, quiet
from tinykit.importers.onnx_file import INSTALL, import_onnx, read_onnx


def quantize_onnx(
    model: Path,
    samples: npt.ArrayLike,
    out: Path,
    *,
    test: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
) -> QuantizationReport:
    """Write an int8 QDQ .onnx of a float one to `out`, and say what it lost.

    samples [n, …] float32: as tinykit's firmware sees them, [n, H, W, C] for images, or in ONNX's
    order.  Accuracy before and after is measured on `test`, samples and class numbers.
    Raises ModelError when the model or the samples are not usable.
    """
    if not model.is_file():
        raise ModelError(f"{model}: no such file", "give a float .onnx file")
    try:
        content = read_onnx(model)
        if len(content.inputs) != 1:
            raise ModelError(f"has {len(content.inputs)} inputs; supported is one")
        if any(node.operator == "QuantizeLinear" for node in content.nodes):
            raise ModelError("is quantized already")
        name = content.inputs[0]
        calibration = _samples(samples, content.shapes[name][1:])
        x = calibration if test is None else _samples(test[0], content.shapes[name][1:])
        y = None if test is None else checked_labels(test[1], len(x))
        quantized = _quantized(model, name, calibration)
    except ModelError as error:
        raise ModelError(f"{model}: {error.message}", error.hint) from None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(quantized)
    except OSError as error:
        raise TinykitError(f"{out}: cannot be written: {error.strerror}") from None
    floats, ints = (_classes(run, name, x) for run in (_content(model), quantized))
    return QuantizationReport(
        out=out,
        bytes_float=model.stat().st_size,
        bytes_int8=len(quantized),
        samples=len(calibration),
        layers=(),
        agreement=float(np.mean(floats == ints)),
        accuracy_float=None if y is None else float(np.mean(floats == y)),
        accuracy_int8=None if y is None else float(np.mean(ints == y)),
        evaluated=len(x),
    )


def _samples(samples: npt.ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    """[n, *shape] float32, channels moved from the last to the first axis where they are there."""
    values = np.asarray(samples)
    last = (*shape[1:], shape[0]) if len(shape) == 3 else shape
    if values.dtype.kind != "f" or not len(values) or values.shape[1:] not in (last, shape):
        raise ModelError(
            f"samples are {values.dtype} {list(values.shape)}; the model needs float32 "
            f"[n, {', '.join(map(str, last))}], n ≥ 1"
        )
    if not np.isfinite(values).all():
        raise ModelError("samples hold NaN or infinite values", "mend the data loader")
    moved = np.moveaxis(values, -1, 1) if len(shape) == 3 and values.shape[1:] == last else values
    return np.ascontiguousarray(moved, np.float32)


def _import_quantization() -> Any:
    import_onnx()
    try:
        import onnxruntime.quantization
        import onnxruntime.quantization.shape_inference
    except ImportError as error:
        raise TinykitError(f"this needs onnxruntime: {error}", INSTALL) from None
    return onnxruntime.quantization


@contextmanager
def _silent() -> Iterator[None]:
    """Without onnxruntime's advice, which it logs as warnings of the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with quiet():
            yield
    finally:
        logging.disable(before)


def _quantized(model: Path, name: str, samples: FloatArray) -> bytes:
    from tinykit.importers.onnx_operators import CONVERTERS

    tool = _import_quantization()
    queue = iter([{name: sample[None]} for sample in samples])

    class Reader(tool.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def get_next(self) -> dict[str, FloatArray] | None:
            return next(queue, None)

    with tempfile.TemporaryDirectory() as folder:
        whole, folded, out = (Path(folder) / f"{part}.onnx" for part in ("whole", "folded", "int8"))
        try:
            with _silent():
                whole.write_bytes(_content(model))
                tool.shape_inference.quant_pre_process(
                    str(whole), str(folded), skip_symbolic_shape=True
                )
                tool.quantize_static(
                    str(folded), str(out), Reader(), quant_format=tool.QuantFormat.QDQ,
                    op_types_to_quantize=sorted(CONVERTERS), per_channel=True,
                    activation_type=tool.QuantType.QInt8, weight_type=tool.QuantType.QInt8,
                    extra_options={"ForceQuantizeNoInputCheck": True},
                )  # fmt: skip
        except Exception as error:  # onnxruntime raises many types, with messages of many lines
            first = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise ModelError(f"onnxruntime cannot quantize it: {first}") from error
        return out.read_bytes()


def _content(model: Path) -> bytes:
    """A model with all its weights, also those in a file of their own."""
    import onnx

    content: bytes = onnx.load(str(model)).SerializeToString()
    return content


def _classes(model: bytes, name: str, samples: FloatArray) -> npt.NDArray[np.int64]:
    """[n]: the place of the largest value of the first output."""
    import onnxruntime

    with _silent():
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        found = [int(np.argmax(session.run(None, {name: x[None]})[0])) for x in samples]
    return np.array(found, np.int64)
