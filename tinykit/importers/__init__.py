"""Foreign model formats to graphs."""

from __future__ import annotations

from pathlib import Path

from tinykit.errors import ModelError
from tinykit.ir import Graph


def load_model(path: str | Path) -> Graph:
    """The graph of a .tflite file, of an int8 .onnx file, or of a .keras or .h5 file (through
    TensorFlow).

    The graph is as the file has it; `tinykit.passes.simplify` tidies it.  Raises ModelError, in
    one line that names the file, for anything that cannot be read or is not supported.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file", "give a .tflite, .onnx, .keras or .h5 file")
    suffix = path.suffix.lower()
    if suffix in (".keras", ".h5", ".hdf5"):
        from tinykit.importers.keras import load_keras  # needs TensorFlow

        return load_keras(path)
    if suffix == ".onnx":
        from tinykit.importers.onnx import load_onnx  # needs the package onnx

        return load_onnx(path)
    if suffix not in (".tflite", ".lite"):
        raise ModelError(
            f"{path}: unknown kind of model {path.suffix or path.name!r}",
            "supported are .tflite, .onnx, .keras and .h5",
        )
    from tinykit.importers.tflite import load_tflite

    return load_tflite(path)
