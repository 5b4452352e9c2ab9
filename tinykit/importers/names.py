"""Short, unique, readable names for layers, from the long names that converters leave."""

from __future__ import annotations

import re

# Last parts of TensorFlow names that say what was computed, the most telling first.
_TELLING = (
    "BiasAdd", "depthwise", "MatMul", "Conv2D", "Conv1D", "convolution", "add", "Add", "AvgPool",
    "MaxPool", "Mean", "Softmax", "Pad", "Relu6", "Relu", "Reshape", "Squeeze", "ExpandDims",
)  # fmt: skip
# Scopes inside a Keras layer: the layer's own name stands before them.
_INNER = {"convolution", "depthwise", "batchnorm"}
_WITH_WEIGHTS = {"conv2d", "depthwise_conv2d", "fully_connected"}
_MEANINGLESS = re.compile(
    r"^(identity|statefulpartitionedcall|partitionedcall|serving_default|output|tfl|tensor)\b|^\d*$",
    re.IGNORECASE,
)


def layer_name(tensor: str, kind: str, index: int, taken: set[str]) -> str:
    """A name for the layer that makes `tensor`; adds it to `taken`.

    "functional_1/dense/BiasAdd" gives "dense"; names that tell nothing give "<kind>_<index>".
    """
    base = _readable(tensor, kind) or f"{kind}_{index}"
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    taken.add(name)
    return name


def _readable(tensor: str, kind: str) -> str:
    parts = [part.split("/") for part in tensor.split(";") if part]
    if kind == "reshape":
        return ""  # it is called after its neighbour, which needs the name more
    if kind not in _WITH_WEIGHTS:  # the names of what was fused into a producer are not its own
        parts = parts[:1]
    candidates: list[tuple[int, str]] = []
    for path in parts:
        leaf = re.sub(r"[_\d:]+$", "", path[-1])
        rank = _TELLING.index(leaf) if leaf in _TELLING else len(_TELLING)
        path = [path[0], *(part for part in path[1:-1] if part not in _INNER), path[-1]]
        name = path[-2] if rank < len(_TELLING) and len(path) > 1 else path[-1]
        # Keras enters every scope a second time when it is traced: model_1/stem_1 is the layer stem
        again = re.search(r"_\d+$", path[0]) if len(path) > 1 else None
        candidates.append((rank, name.removesuffix(again.group()) if again else name))
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
