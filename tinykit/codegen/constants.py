"""Constant arrays and descriptors of a generated model, each stored once."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tinykit.codegen.cstruct import RANGES, SCALAR_BYTES, StructType, struct_types
from tinykit.errors import ModelError
from tinykit.ir import Array
from tinykit.ops.base import Address, Struct, Table

LINE = 96  # columns of a line of numbers

# What generated code itself may call <name>_…; a layer of that name gets a number.
TAKEN = frozenset({
    "init", "input", "input_row", "infer", "row", "state", "train", "apply", "parameters",
    "save", "load", "target", "features", "train_features", "learn", "replay", "step",
    "remember", "arena", "counts", "block", "trainer", "optimizer", "identity", "initial",
    "initial_state", "state_block", "parameter_set", "trained_biases", "trained_weights",
    "replay_block", "replay_set", "guard", "rollback", "rollbacks", "guard_block", "guard_set",
    "begin", "push",
})  # fmt: skip


def identifier(text: str) -> str:
    """A C identifier made of a layer's or tensor's name."""
    cleaned = re.sub(r"[^0-9A-Za-z]+", "_", text).strip("_").lower()
    return cleaned if cleaned and not cleaned[0].isdigit() else f"t_{cleaned}"


def number(ctype: str, value: float) -> str:
    """One literal of that type, exact (floats in hexadecimal)."""
    if ctype == "float":
        mantissa, exponent = float(np.float32(value)).hex().split("p")
        mantissa = mantissa.rstrip("0") if "." in mantissa else mantissa
        return f"{mantissa.rstrip('.')}p{exponent}f"
    return "INT32_MIN" if ctype == "int32_t" and value == -(2**31) else str(int(value))


def wrapped(values: list[str]) -> str:
    lines, line = [], "   "
    for text in values:
        if len(line) + len(text) + 2 > LINE:
            lines.append(line)
            line = "   "
        line += f" {text},"
    return "\n".join([*lines, line])


@dataclass
class Constants:
    """Collects definitions in the order in which they are needed; equal ones are shared.

    `address` gives the C expression for the address of a flash or parameter tensor.
    """

    prefix: str
    address: Callable[[str], str]
    definitions: list[str] = field(default_factory=list)
    symbols: dict[str, tuple[str, int]] = field(default_factory=dict)  # name -> (item, bytes)
    _known: dict[tuple[object, ...], str] = field(default_factory=dict)

    def array(self, name: str, ctype: str, values: Array, item: str) -> str:
        """Define (or find) a constant array; returns its symbol."""
        flat = np.ascontiguousarray(values).reshape(-1)
        key = (ctype, flat.tobytes())
        if key in self._known:
            return self._known[key]
        symbol = self._fresh(name)
        # Words are read at a time: int8 arrays start on a word as well.
        align = "_Alignas(4) " if SCALAR_BYTES[ctype] < 4 else ""
        body = wrapped([number(ctype, value) for value in flat.tolist()])
        self.definitions.append(
            f"static const {align}{ctype} {symbol}[{flat.size}] = {{\n{body}\n}};"
        )
        self.symbols[symbol] = (item, flat.size * SCALAR_BYTES[ctype])
        self._known[key] = symbol
        return symbol

    def struct(self, name: str, struct: Struct) -> str:
        """Define (or find) a descriptor and all that it points to; returns its symbol."""
        kind = struct_types()[struct.ctype]
        members = {member.name for member in kind.members}
        if members != set(struct.fields):
            raise ValueError(f"{struct.ctype}: fields {sorted(members ^ set(struct.fields))}")
        texts = [self._member(name, kind, member.name, struct) for member in kind.members]
        key = (struct.ctype, *texts)
        if key in self._known:
            return self._known[key]
        symbol = self._fresh(name)
        body = "\n".join(f"    {text}," for text in texts)
        self.definitions.append(f"static const {struct.ctype} {symbol} = {{\n{body}\n}};")
        self.symbols[symbol] = ("tables", kind.bytes)
        self._known[key] = symbol
        return symbol

    def _member(self, name: str, kind: StructType, member: str, struct: Struct) -> str:
        value = struct.fields[member]
        ctype = next(m.ctype for m in kind.members if m.name == member)
        if value is None:
            text = "NULL"
        elif isinstance(value, Table):
            if value.ctype != ctype:
                raise ValueError(f"{kind.name}.{member} points to {ctype}, not {value.ctype}")
            text = self.array(f"{name}_{member}", ctype, value.values, value.item)
        elif isinstance(value, Struct):
            text = "&" + self.struct(f"{name}_{member}", value)
        elif isinstance(value, Address):
            text = self.address(value.tensor)
        else:
            low, high = RANGES.get(ctype, (float("-inf"), float("inf")))
            if not low <= value <= high:
                raise ModelError(f"layer {name}: {member} = {value} exceeds {low} … {high}")
            text = number(ctype, value)
        return f".{member} = {text}"

    def _fresh(self, name: str) -> str:
        base = f"{self.prefix}_{identifier(name)}"
        if identifier(name).startswith("frontend_"):  # those are the frontend's
            base = f"{self.prefix}_layer_{identifier(name)}"
        symbol, count = base, 2
        while symbol in self.symbols or symbol.removeprefix(f"{self.prefix}_") in TAKEN:
            symbol, count = f"{base}_{count}", count + 1
        self.symbols[symbol] = ("", 0)
        return symbol
