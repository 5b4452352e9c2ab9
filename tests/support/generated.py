"""Generated code on this machine, for tests that need it under sanitizers."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from tests.support.training_kernels import sanitized_process
from tinykit.codegen import generate
from tinykit.codegen.manifest import Manifest
from tinykit.host import HostModel
from tinykit.host.library import build_library
from tinykit.ir import Array, Graph


def infer_generated(graph: Graph, inputs: list[Array], folder: Path, sanitize: bool) -> list[Array]:
    """Generates C for inference, compiles it, runs it on each input."""
    generate(graph, folder, name="model")
    if not sanitize:
        host = HostModel(folder)
        return [host.infer(x) for x in inputs]
    build_library(folder, Manifest.load(folder), sanitize=True)
    process = sanitized_process(["-m", "tests.support.generated", str(folder)])
    output, _ = process.communicate(pickle.dumps(inputs))
    assert process.returncode == 0, "a sanitizer stopped the generated code (see stderr)"
    results: list[Array] = pickle.loads(output)
    return results


if __name__ == "__main__":
    model = HostModel(Path(sys.argv[1]), sanitize=True)
    pickle.dump([model.infer(x) for x in pickle.load(sys.stdin.buffer)], sys.stdout.buffer)
