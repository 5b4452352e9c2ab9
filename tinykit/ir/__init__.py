"""The one intermediate representation: forward, loss, backward and update are ops of one graph."""

from tinykit.ir.graph import Attributes, Graph, Op
from tinykit.ir.tensor import Array, DType, Order, Quantization, Storage, Tensor
from tinykit.ir.text import format_graph

__all__ = [
    "Array",
    "Attributes",
    "DType",
    "Graph",
    "Op",
    "Order",
    "Quantization",
    "Storage",
    "Tensor",
    "format_graph",
]
