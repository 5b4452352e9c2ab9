"""Copies of TFLite models that bakenn accepts, and the C it makes of them. Run in a process of its
own, because TensorFlow's classes do the editing:

    python -m bench.measuring.bakenn_copies OUT TARGET MODEL.tflite …

prints JSON: for each model, by kernels ("portable", "CMSIS-NN"), the folder of C or what bakenn
said.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

EDITS = "batch size fixed, RESHAPE's shape repeated as an option, final SOFTMAX removed"


def edited(path: Path) -> bytes:
    """The model after EDITS, without which bakenn 1.0.0 refuses it."""
    import flatbuffers
    from tensorflow.lite.python import schema_py_generated as schema

    root = schema.Model.GetRootAs(path.read_bytes(), 0)
    model = schema.ModelT.InitFromObj(root)
    graph = model.subgraphs[0]
    for tensor in graph.tensors:
        tensor.shapeSignature = None
    # files of before 2021 have the code in the older field only
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    for op in graph.operators:
        if codes[op.opcodeIndex] == schema.BuiltinOperator.RESHAPE:
            op.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
            op.builtinOptions = schema.ReshapeOptionsT()
            op.builtinOptions.newShape = list(graph.tensors[op.outputs[0]].shape)
    last = graph.operators[-1]
    if codes[last.opcodeIndex] == schema.BuiltinOperator.SOFTMAX:
        graph.operators = graph.operators[:-1]
        graph.outputs = [last.inputs[0]]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _compile(copy: Path, out: Path, target: str) -> dict[str, dict[str, str]]:
    import bakenn

    descriptor = bakenn.resolve_target(target)
    choices: dict[str, dict[str, Any]] = {"portable": {}}
    if target == "cortex-m4":
        policy = bakenn.KernelPolicy.STATIC_PRIORITY
        choices["CMSIS-NN"] = {"kernel_policy": policy, "enable_cmsis_nn": True}
    found = {}
    for kernels, options in choices.items():
        folder = out / kernels
        try:
            backend = bakenn.CBackendOptions(target=descriptor, **options)
            bakenn.compile_tflite(copy, folder, name="m", backend_options=backend)
            found[kernels] = {"folder": str(folder)}
        except Exception as error:  # whatever a peer raises is what it says
            found[kernels] = {"said": f"{type(error).__name__}: {error}"}
    return found


def main() -> None:
    """Writes OUT/<model>/<kernels>/ and prints what happened."""
    out, target, *models = sys.argv[1:]
    found = {}
    for model in map(Path, models):
        folder = Path(out) / model.stem
        folder.mkdir(parents=True, exist_ok=True)
        copy = folder / "copy.tflite"
        copy.write_bytes(edited(model))
        found[model.name] = _compile(copy, folder, target)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
