"""The C structs of the runtime, read from its headers: one source of truth for their layout."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from pycparser import CParser, c_ast

from tinykit.resources import resource_path

POINTER_BYTES = 4
SCALAR_BYTES = {
    "int8_t": 1,
    "uint8_t": 1,
    "int16_t": 2,
    "uint16_t": 2,
    "int32_t": 4,
    "uint32_t": 4,
    "int64_t": 8,
    "uint64_t": 8,
    "float": 4,
    "tk_status": 4,
}
RANGES = {
    "int8_t": (-128, 127),
    "uint8_t": (0, 255),
    "int16_t": (-(2**15), 2**15 - 1),
    "uint16_t": (0, 2**16 - 1),
    "int32_t": (-(2**31), 2**31 - 1),
    "uint32_t": (0, 2**32 - 1),
}


FRONTENDS = ("signal.h", "motion.h")  # of which tinykit.frontend writes the constants


@dataclass(frozen=True)
class Member:
    name: str
    ctype: str  # the scalar type, or what it points to
    pointer: bool

    @property
    def bytes(self) -> int:
        return POINTER_BYTES if self.pointer else SCALAR_BYTES[self.ctype]


@dataclass(frozen=True)
class StructType:
    """A struct of plain scalars and pointers, laid out as 32-bit Arm does."""

    name: str
    members: tuple[Member, ...]

    @property
    def alignment(self) -> int:
        return max(member.bytes for member in self.members)

    @property
    def bytes(self) -> int:
        offset = 0
        for member in self.members:
            offset = -(-offset // member.bytes) * member.bytes + member.bytes
        return -(-offset // self.alignment) * self.alignment


@cache
def struct_types() -> dict[str, StructType]:
    """All `typedef struct {…} tk_name;` of the headers that generated models use."""
    folder = resource_path("firmware") / "lib" / "tinykit" / "include" / "tinykit"
    headers = [path for path in sorted(folder.glob("*.h")) if path.name not in FRONTENDS]
    text = "\n".join(path.read_text() for path in headers)
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    bodies = re.findall(r"typedef struct \{[^}]*\}\s*\w+;", text)
    declared = re.findall(r"\}\s*(\w+);", "\n".join(bodies))
    names = [*SCALAR_BYTES, *declared]
    prelude = "".join(f"typedef int {name};" for name in names if name not in (*declared, "float"))
    found: dict[str, StructType] = {}
    for body in _in_dependency_order(bodies):
        prelude += body
    for node in CParser().parse(prelude).ext:
        if isinstance(node.type.type, c_ast.Struct):
            members = tuple(_member(decl) for decl in node.type.type.decls)
            found[node.name] = StructType(node.name, members)
    return found


def _in_dependency_order(bodies: list[str]) -> list[str]:
    """Structs before the structs that point to them."""
    waiting = {re.findall(r"\}\s*(\w+);", body)[0]: body for body in bodies}
    ordered: list[str] = []
    while waiting:
        name = next(
            n
            for n, body in waiting.items()
            if not any(re.search(rf"\b{o}\b", body) for o in waiting if o != n)
        )
        ordered.append(waiting.pop(name))
    return ordered


def _member(declaration: c_ast.Decl) -> Member:
    kind = declaration.type
    pointer = isinstance(kind, c_ast.PtrDecl)
    while not isinstance(kind, c_ast.IdentifierType):
        kind = kind.type
    return Member(declaration.name, kind.names[-1], pointer)
