"""What an operator is: one file in this folder, with one `OPERATOR` (or several `OPERATORS`).

The file holds the operator's attributes, its shape rule, its integer reference in NumPy, its
gradient rule, its cost, how it is imported from TFLite and how it is called in C.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, Literal, TypeVar, Union, cast

from tinykit.errors import PlanError
from tinykit.ir import Array, Attributes, Graph, Op
from tinykit.ops.rows import RingRows, Row, RowForm

if TYPE_CHECKING:
    from tinykit.importers.tflite_node import TfliteNode
    from tinykit.ops.evaluate import Run
    from tinykit.ops.tape import Tape

A = TypeVar("A", bound=Attributes)


@dataclass(frozen=True)
class Table:
    """A constant array that a descriptor points to; equal tables are stored once."""

    ctype: str  # "int8_t", "int32_t", "float", …
    values: Array
    item: str = "tables"  # the line of the memory map that pays for it


@dataclass(frozen=True)
class Address:
    """The address of a flash or parameter tensor inside a descriptor."""

    tensor: str


Field = Union[int, float, Table, Address, "Struct", None]


@dataclass(frozen=True)
class Struct:
    """A constant C struct: `ctype` is declared in firmware/lib/tinykit; None is a null pointer.

    Fields that are left out are zero, so name them all: the emitter refuses unknown names.
    """

    ctype: str
    fields: dict[str, Field]


@dataclass(frozen=True)
class Call:
    """One call of a runtime function: `function(&descriptor, arguments…)`.

    Arguments are names of tensors of the op (passed as pointers), numbers, or one of the words
    "$scratch", "$trainer", "$target", "$step"; row calls have more, see
    RowForm.  `scratch` is in bytes, 4-aligned.  scratch_over_input: the call reads its input once,
    front to back, into the scratch, before it writes any output; so the input, if nobody needs it
    any more, may lie in the tail of the scratch.
    """

    function: str
    descriptor: Struct | None
    arguments: tuple[str | int | Row | RingRows, ...]
    scratch: int = 0
    scratch_over_input: bool = False


@dataclass(frozen=True)
class Cost:
    """What an op costs: multiply-accumulates and bytes read and written."""

    macs: int = 0
    elements: int = 0  # outputs that are requantized or otherwise computed one by one

    @property
    def instructions(self) -> int:
        """A rough estimate, for choosing between schedules (Cortex-M4)."""
        return 2 * self.macs + 25 * self.elements


class Operator(abc.ABC, Generic[A]):
    """Base class of all operators; instances carry no state."""

    kind: ClassVar[str]
    tflite: ClassVar[tuple[str, ...]] = ()  # names of the TFLite builtins that become this
    int16: ClassVar[tuple[str, ...]] = ()  # the same for int16 activations: tinykit.ops.int16
    note: ClassVar[str] = ""  # what is and is not supported, for the operators table
    cores: ClassVar[str] = ""  # instruction sets with a kernel of its own beside the portable C
    golden: ClassVar[str] = "TFLM"  # what inference equals bit for bit
    trainable: ClassVar[bool] = False  # has weights that an update plan may name
    in_place: ClassVar[int | None] = None  # the input that output 0 may overwrite
    alias: ClassVar[bool] = False  # output 0 is input 0's bytes under another shape: no code
    moves: ClassVar[bool] = False  # values only change places, so gradients keep their exponent
    pointwise: ClassVar[bool] = False  # output code i is one function of input code i, for every i

    clamps: ClassVar[bool] = True  # to the range of its attribute `activation`, if it has one

    flow: ClassVar[Literal["fixed", "through", "mixes"]] = "fixed"

    def channel_flow(self, graph: Graph, op: Op) -> Literal["fixed", "through", "mixes"]:
        """How the channels (last axis) of the op's arena tensors hang together.

        "through": output channel c comes from input channel c alone, with the same arithmetic or
        with constants of its own; "mixes": weights [O, …, I] connect any with any; "fixed": their
        order must not change.
        """
        return self.flow

    def overwrites(self, graph: Graph, op: Op) -> int | None:
        """The position of the input, of which nothing else is needed any more, that output 0 may
        be written over."""
        return self.in_place

    def monotone(self, graph: Graph, op: Op) -> bool:
        """Whether no output element falls when input elements rise."""
        return False

    def attributes(self, op: Op) -> A:
        """The op's attributes, typed."""
        return cast(A, op.attributes)

    @abc.abstractmethod
    def shapes(self, graph: Graph, op: Op) -> tuple[tuple[int, ...], ...]:
        """The shape each output must have, from the inputs' shapes; ModelError if impossible."""

    @abc.abstractmethod
    def evaluate(self, op: Op, run: Run) -> tuple[Array, ...]:
        """The outputs, then the new values of `op.updates`, by the NumPy reference."""

    @abc.abstractmethod
    def lower(self, graph: Graph, op: Op) -> tuple[Call, ...]:
        """How it is done in C."""

    def rows(self, graph: Graph, op: Op) -> RowForm | None:
        """How the output is made row by row; None where it cannot."""
        return None

    def cost(self, graph: Graph, op: Op) -> Cost:
        return Cost(elements=sum(graph[name].size for name in op.outputs))

    def may_end(self, op: Op) -> bool:
        """Whether it may decide that the rest of the step is left out (tk_trainer.skips)."""
        return False

    def gradient(self, op: Op, tape: Tape) -> None:
        """Emit the backward ops of `op` on the tape."""
        raise PlanError(
            f"layer {op.name}: {self.kind} has no gradient yet",
            "choose a plan that trains only layers behind it",
        )

    @property
    def differentiable(self) -> bool:
        """Whether `gradient` emits anything."""
        return type(self).gradient is not Operator.gradient

    def from_tflite(self, node: TfliteNode) -> tuple[Op, ...]:
        """The ops that a TFLite operator becomes (usually one); ModelError if unsupported."""
        raise NotImplementedError(f"{self.kind} is not imported from TFLite")
