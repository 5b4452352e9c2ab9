"""Short, unique, readable names for layers, from the long names that converters leave."""

from __future__ import annotations

import re

# Last parts of TensorFlow names that say what was computed, the most telling first.
_TELLING = (
    "BiasAdd", "add", "depthwise", "MatMul", "Conv2D", "Conv1D", "convolution", "AvgPool",
    "MaxPool", "Mean", "Softmax", "Pad", "Relu6", "Relu", "Reshape", "Squeeze", "ExpandDims",
)  # fmt: skip
_MEANINGLESS = re.compile(
    r"^(identity|statefulpartitionedcall|partitionedcall|serving_default|output|tfl|tensor)\b|^\d*$",
    re.IGNORECASE,
)


def layer_name(tensor: str, kind: str, index: int, taken: set[str]) -> str:
    """A name for the layer that makes `tensor`; adds it to `taken`.

    "functional_1/dense/BiasAdd" gives "dense"; names that tell nothing give "<kind>_<index>".
    """
    base = _readable(tensor) or f"{kind}_{index}"
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    taken.add(name)
    return name


def _readable(tensor: str) -> str:
    parts = [part.split("/") for part in tensor.split(";") if part]
    candidates: list[tuple[int, str]] = []
    for path in parts:
        leaf = re.sub(r"[_\d:]+$", "", path[-1])
        rank = _TELLING.index(leaf) if leaf in _TELLING else len(_TELLING)
        name = path[-2] if rank < len(_TELLING) and len(path) > 1 else path[-1]
        candidates.append((rank, name))
    if not candidates:
        return ""
    best = re.sub(r"\W+", "_", min(candidates, key=lambda c: c[0])[1]).strip("_")
    return "" if _MEANINGLESS.match(best.replace("_", " ")) else best[:40]


def unique_names(names: list[str]) -> list[str]:
    """The same names, later duplicates numbered: tensors are known by their names."""
    taken: set[str] = set()
    result = []
    for name in names:
        unique, count = name, 1
        while unique in taken:
            count += 1
            unique = f"{name}_{count}"
        taken.add(unique)
        result.append(unique)
    return result
