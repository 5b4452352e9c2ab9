"""Short, unique, readable names for layers, from the long names that converters leave."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Last parts of TensorFlow names that say what was computed, the most telling first.
_TELLING = (
    "BiasAdd", "depthwise", "MatMul", "Conv2D", "Conv1D", "convolution", "add", "Add", "AvgPool",
    "AvgPool2D", "AvgPool1D", "MaxPool", "MaxPool2d", "MaxPool1d", "Mean", "Softmax", "Pad",
    "Relu6", "Relu", "Reshape", "Squeeze", "ExpandDims", "BatchToSpaceND",
)  # fmt: skip
# Scopes inside a Keras layer: the layer's own name stands before them.
_INNER = {"convolution", "depthwise", "batchnorm", "separable_conv2d", "Tensordot"}
_WITH_WEIGHTS = {"conv2d", "depthwise_conv2d", "fully_connected"}
_NUMBERED = re.compile(r"_\d+$")
_MEANINGLESS = re.compile(
    r"^(identity|statefulpartitionedcall|partitionedcall|serving_default|output|tfl|tensor)\b|^\d*$",
    re.IGNORECASE,
)


class LayerNames:
    """Hands out the names of a model's layers, from the tensors that they make."""

    def __init__(self, tensors: Iterable[str]) -> None:
        self._retraced = _retraced_scopes(tensors)
        self._taken: set[str] = set()

    def name(self, tensor: str, kind: str, index: int) -> str:
        """ "functional_1/dense/BiasAdd" gives "dense"; what tells nothing "<kind>_<index>"."""
        base = self._readable(tensor, kind) or f"{kind}_{index}"
        if base in self._taken and kind not in _WITH_WEIGHTS and not base.startswith(kind):
            base = f"{base}_{kind}"  # the bias of a dense layer over time: dense_add
        name, count = base, 1
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name

    def _readable(self, tensor: str, kind: str) -> str:
        parts = [part.split("/") for part in tensor.split(";") if part]
        if kind == "reshape":
            return ""  # it is called after its neighbour, which needs the name more
        if kind not in _WITH_WEIGHTS:  # the names of what was fused into a producer are not its own
            parts = parts[:1]
        candidates: list[tuple[int, str]] = []
        for path in parts:
            leaf = re.sub(r"_?\d*(:\d+)?$", "", path[-1])
            rank = _TELLING.index(leaf) if leaf in _TELLING else len(_TELLING)
            if len(path) > 2:
                inside = (part for part in path[2:-1] if part not in _INNER)
                path = [*path[:2], *inside, path[-1]]
            name = path[-2] if rank < len(_TELLING) and len(path) > 1 else path[-1]
            again = path[0] in self._retraced and len(path) > 1
            candidates.append((rank, _NUMBERED.sub("", name) if again else name))
        if not candidates:
            return ""
        best = re.sub(r"\W+", "_", min(candidates, key=lambda c: c[0])[1]).strip("_")
        return "" if _MEANINGLESS.match(best.replace("_", " ")) else best[:40]


def _retraced_scopes(tensors: Iterable[str]) -> frozenset[str]:
    """The outermost scopes that Keras has entered a second time, numbering all inside once more:
    model_1/stem_1/… is the layer stem, model_1/block_2_1/… the layer block_2."""
    layers: dict[str, set[str]] = {}
    for tensor in tensors:
        for part in tensor.split(";"):
            path = part.split("/")
            if len(path) > 2:
                layers.setdefault(path[0], set()).add(path[1])
    return frozenset(
        scope
        for scope, inside in layers.items()
        if _NUMBERED.search(scope) and all(_NUMBERED.search(layer) for layer in inside)
    )


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
