"""TFLite files to graphs: full-int8 (and int16x8) models as TensorFlow's converter writes them.

Each operator's own file says how it is imported (`Operator.from_tflite`).  Here is what concerns
the model as a whole: names, constant shapes, the float edges, subgraphs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from tinykit.errors import ModelError
from tinykit.importers.dilation import join_dilations
from tinykit.importers.float_islands import join_float_islands
from tinykit.importers.fold import FOLDED, fold
from tinykit.importers.names import LayerNames, unique_names
from tinykit.importers.preprocessor import SIGNAL
from tinykit.importers.tflite_file import FileGraph, FileOperator, FileTensor, read_tflite
from tinykit.importers.tflite_node import FULL_INT8, TfliteNode
from tinykit.ir import Graph, Op, Tensor
from tinykit.ir.tensor import DType
from tinykit.ops.registry import check_shapes, tflite_operators
from tinykit.ops.registry import operator as find_operator
from tinykit.passes.ports import PORTS, single_ports

A_FRONTEND = (
    "a model of Signal* operators stands in front of another one: "
    '[frontend] kind = "audio", preprocessor = "FILE.tflite" in its tinykit.toml'
)
LAST_ARG_MAX = "supported is one class number from all scores, at the end of the model"


def load_tflite(path: Path) -> Graph:
    """The graph of a .tflite file, checked; ModelError in one line for whatever is wrong."""
    graphs = read_tflite(path)
    name = re.sub(r"\W+", "_", path.stem).strip("_") or "model"
    try:
        return import_graphs(name, (join_float_islands(join_dilations(graphs[0])), *graphs[1:]))
    except ModelError as error:
        raise ModelError(f"{path}: {error.message}", error.hint) from None


def import_graphs(name: str, graphs: tuple[FileGraph, ...]) -> Graph:
    """The graph of a file's content, the main subgraph first; ModelError without the path."""
    return _Importer(name, graphs).graph()


def supported_builtins() -> list[str]:
    """The TFLite operators that can be imported, sorted."""
    return sorted({*tflite_operators(), "ARG_MAX", "DEQUANTIZE"})


@dataclass
class _Importer:
    name: str
    graphs: tuple[FileGraph, ...]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)
    layers: LayerNames = field(init=False)
    initial: dict[str, FileTensor] = field(default_factory=dict)  # of variables
    handles: dict[str, str] = field(default_factory=dict)  # tensors that stand for them

    def graph(self) -> Graph:
        main = self.graphs[0]
        names = unique_names([tensor.name for tensor in main.tensors])
        self.layers = LayerNames(names[i] for o in main.operators for i in o.outputs)
        files = dict(zip(names, main.tensors, strict=True))
        inputs = [names[i] for i in main.inputs]
        outputs = [names[i] for i in main.outputs]
        for ports, role in ((inputs, "inputs"), (outputs, "outputs")):
            if not ports or len(set(ports)) < len(ports):
                raise ModelError(f"the model's {role} are {ports or 'none'}")
        for name in inputs:
            shape, dynamic = files[name].shape, files[name].dynamic
            if any(axis > 0 for axis in dynamic):
                known = [-1 if i in dynamic else n for i, n in enumerate(shape)]
                raise ModelError(
                    f"the input {name} has shape {known}: only the batch may be unknown",
                    "export the model with every other dimension of its input fixed",
                )
        for index, operator in enumerate(main.operators):
            if operator.builtin == "CALL_ONCE":
                self._call_once(operator, index)
                continue
            if operator.builtin == "VAR_HANDLE" and len(operator.outputs) == 1:
                self._variable(operator, names, files)
                continue
            if self._fold(operator, names, files):
                continue
            node = self._node(operator, index, names, files)
            if node.builtin == "QUANTIZE" and files[node.inputs[0]].type == "FLOAT32":
                node.expect(node.inputs[0] in inputs, "float input inside the model", FULL_INT8)
                inputs[inputs.index(node.inputs[0])] = node.output(PORTS).name
            elif node.builtin == "DEQUANTIZE":
                node.expect(node.outputs[0] in outputs, "float output inside the model", FULL_INT8)
                outputs[outputs.index(node.outputs[0])] = node.input(0, PORTS).name
            elif node.builtin == "ARG_MAX":
                node.expect(node.outputs[0] in outputs, "inside the model", LAST_ARG_MAX)
                outputs[outputs.index(node.outputs[0])] = self._scores(node)
            else:
                self._convert(node)
        return self._assemble(inputs, outputs)

    def _scores(self, node: TfliteNode) -> str:
        """What an ARG_MAX at the model's end compares: its output from now on.

        Whoever runs the model takes the first largest score as the class, as ARG_MAX does.
        """
        x, axes = node.input(), node.constant(1)
        node.expect(axes.size == 1 and len(x.shape) > 0, f"axes {axes.tolist()}", LAST_ARG_MAX)
        axis = int(axes.flat[0])
        last = axis in (-1, len(x.shape) - 1)
        node.expect(
            last and x.size == x.shape[-1], f"of {list(x.shape)} along axis {axis}", LAST_ARG_MAX
        )
        return x.name

    def _convert(self, node: TfliteNode) -> None:
        operator = tflite_operators(node.int16).get(node.builtin)
        if operator is None:
            signal = node.builtin.startswith(SIGNAL)
            raise node.error(
                f"this operator (version {node.version}) is not supported",
                A_FRONTEND if signal else f"supported are {', '.join(supported_builtins())}",
            )
        try:
            ops = operator.from_tflite(node)
            for op in ops:
                shapes = find_operator(op.kind).shapes(self._so_far(), op)
                if op.outputs and op.outputs == node.outputs:
                    node.shape_output(shapes[0])
        except (ValueError, IndexError, KeyError, OverflowError) as error:
            raise node.error(f"unusual or damaged operator ({error})") from None
        self.ops.extend(ops)

    def _so_far(self) -> Graph:
        return Graph(self.name, self.tensors, (), (), ())

    def _node(
        self, operator: FileOperator, index: int, names: list[str], files: dict[str, FileTensor]
    ) -> TfliteNode:
        inputs = tuple(names[i] if i >= 0 else "" for i in operator.inputs)
        outputs = tuple(names[i] for i in operator.outputs)
        assigns = operator.builtin == "ASSIGN_VARIABLE"
        if not inputs or not inputs[0] or not (outputs or assigns):
            raise ModelError(f"{operator.builtin} #{index} lacks inputs or outputs")
        known = tflite_operators().get(operator.builtin)
        seen = {files[tensor].type for tensor in (*inputs[:2], *outputs[:1]) if tensor}
        types: tuple[DType, ...] = ("int8",)
        if "INT16" in seen and operator.builtin in tflite_operators(int16=True):
            types = ("int16",)
        kind = known.kind if known else operator.builtin.lower()
        name = self.layers.name(outputs[0] if outputs else "", kind, index)
        return TfliteNode(
            operator.builtin, index, operator.version, name, inputs, outputs, operator.options,
            files, self.tensors, operator.origin, types,
        )  # fmt: skip

    def _fold(self, operator: FileOperator, names: list[str], files: dict[str, FileTensor]) -> bool:
        """Whether the operator makes a constant; if so the file's tensor now holds it."""
        if operator.builtin not in FOLDED or len(operator.outputs) != 1:
            return False
        output = names[operator.outputs[0]]
        sources = [files[names[i]] for i in operator.inputs if i >= 0]
        value = fold(operator, sources, files[output])
        if value is None:
            return False
        files[output] = replace(files[output], data=value, shape=value.shape)
        return True

    def _call_once(self, operator: FileOperator, index: int) -> None:
        """CALL_ONCE runs a graph that gives variables their initial values."""
        called = int(operator.options.get("InitSubgraphIndex", 0))
        if not 0 < called < len(self.graphs):
            raise ModelError(f"CALL_ONCE #{index}: the model has no graph {called}")
        graph, handles = self.graphs[called], dict[int, str]()
        for i, inner in enumerate(graph.operators):
            if inner.builtin == "VAR_HANDLE" and len(inner.outputs) == 1:
                handles[inner.outputs[0]] = inner.variable
                continue
            handle, value = (*inner.inputs, -1, -1)[:2]
            known = inner.builtin == "ASSIGN_VARIABLE" and handle in handles and value >= 0
            if not known or graph.tensors[value].data is None:
                raise ModelError(
                    f"{inner.builtin} #{i} of the graph that CALL_ONCE #{index} runs: supported "
                    "are variables that are set to constants (VAR_HANDLE, ASSIGN_VARIABLE)"
                )
            self.initial[handles[handle]] = graph.tensors[value]

    def _variable(
        self, operator: FileOperator, names: list[str], files: dict[str, FileTensor]
    ) -> None:
        """The handle's tensor becomes the variable itself, with its initial value."""
        name = self.handles.setdefault(operator.variable, names[operator.outputs[0]])
        names[operator.outputs[0]] = name  # a second handle of one variable is the first
        if operator.variable in self.initial:
            files[name] = replace(self.initial[operator.variable], name=name)

    def _assemble(self, inputs: list[str], outputs: list[str]) -> Graph:
        if not self.ops:
            raise ModelError("the model holds no operators")
        for name in (*inputs, *outputs):
            if name not in self.tensors:
                raise ModelError(f"no supported operator reads or makes {name}", FULL_INT8)
        graph = Graph(self.name, self.tensors, tuple(self.ops), tuple(inputs), tuple(outputs))
        graph = graph.pruned()
        for name in (*inputs, *outputs):
            if graph[name].dtype not in PORTS:
                raise ModelError(f"{name} is {graph[name].dtype}, not int8 or int16", FULL_INT8)
        for name in inputs:
            if graph[name].storage != "arena":
                raise ModelError(f"the input {name} is a constant")
            if graph[name].shape[0] != 1:
                raise ModelError(
                    f"the input {name} has shape {list(graph[name].shape)}",
                    "export the model with batch size 1",
                )
        return check_shapes(single_ports(graph))
