"""Foreign model formats to graphs."""

from __future__ import annotations

from pathlib import Path

from tinykit.errors import ModelError
from tinykit.ir import Graph


def load_model(path: str | Path) -> Graph:
    """The graph of a .tflite, int8 .onnx or .tinykit file, or (by TensorFlow) a .keras or .h5 file.

    The graph is as the file has it; `tinykit.passes.simplify` tidies it.  Raises ModelError, in
    one line that names the file, for anything that cannot be read or is not supported.
    """
    path = Path(path)
    kinds = ".tflite, .onnx, .tinykit, .keras and .h5, and .skops for `tinykit quantize`"
    if not path.is_file():
        raise ModelError(f"{path}: no such file", f"supported are {kinds}")
    suffix = path.suffix.lower()
    if suffix in (".keras", ".h5", ".hdf5"):
        from tinykit.importers.keras import load_keras  # needs TensorFlow

        return load_keras(path)
    if suffix in (".skops", ".joblib", ".pkl", ".pickle"):
        from tinykit.importers.sklearn import load_file

        return load_file(path)
    if suffix == ".tinykit":
        from tinykit.importers.graph_file import load_graph

        return load_graph(path)
    if suffix == ".onnx":
        from tinykit.importers.onnx import load_onnx  # needs the package onnx

        return load_onnx(path)
    if suffix not in (".tflite", ".lite"):
        raise ModelError(
            f"{path}: unknown kind of model {path.suffix or path.name!r}", f"supported are {kinds}"
        )
    from tinykit.importers.tflite import load_tflite

    return load_tflite(path)
