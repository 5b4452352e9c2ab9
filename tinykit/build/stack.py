"""The most stack that firmware can ever use, from its machine code.

Every path through every function that can be reached is followed, adding up what instructions push
and pop; a call adds what the called function needs at that point. This covers compiled code, the
compiler's library and hand-written assembly alike, so no table of frame sizes is needed, and it is
the sum of the frames on the deepest path (or less, where a call happens before the whole frame is
set up). Recursion, a call through a pointer and a stack pointer that is computed at run time cannot
be bounded and are errors that name the function.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tinykit.build.image import Image
from tinykit.build.thumb import Flow, decode
from tinykit.errors import BuildError

BASIC_FRAME = 32 + 4  # what an exception pushes: 8 words, and 4 bytes when SP is not 8-aligned
FPU_FRAME = 104 + 4
DEEPEST = 1 << 20  # a stack that grows in a loop would never end

RESET, UNHANDLED, FAULT_ENTRY = "tk_reset", "tk_unhandled", "tk_fault_entry"
FIRST_HANDLER = 15  # SysTick, then the interrupts; what is below goes to tk_unhandled


@dataclass(frozen=True)
class StackBound:
    """Bytes of stack. `thread` is main() and all it calls, `interrupts` what interrupts can add,
    `fault` what reporting a fault needs (it starts over on an empty stack). `path` is the deepest
    chain of calls with the depth at which each function is entered."""

    total: int
    thread: int
    interrupts: int
    fault: int
    path: tuple[tuple[str, int], ...]


def stack_bound(image: Image, has_fpu: bool) -> StackBound:
    """The bound for linked firmware. Raises BuildError when there is none."""
    analysis = StackAnalysis(image)
    thread = analysis.depth_of(RESET)
    fault = analysis.depth_of(FAULT_ENTRY)
    handlers = _handlers(image)
    handler = max((analysis.depth(address) for address in handlers), default=0)
    frame = FPU_FRAME if has_fpu else BASIC_FRAME
    # An interrupt (none interrupts another: all have the same priority), then a fault on top of it.
    interrupts = frame + handler + BASIC_FRAME if handlers else frame
    total = max(thread + interrupts, fault)
    return StackBound(-(-total // 8) * 8, thread, interrupts, fault, analysis.path(RESET))


def _handlers(image: Image) -> list[int]:
    """The interrupt handlers in the vector table, the one for unhandled exceptions left out."""
    table = next((s for s in image.symbols if s.name == "tk_vectors"), None)
    unhandled = image.address_of(UNHANDLED)
    if table is None or unhandled is None:
        raise BuildError(f"{image.path}: the ELF has no vector table")
    offset = table.address - image.text_address
    words = [
        int.from_bytes(image.text[offset + i : offset + i + 4], "little") & ~1
        for i in range(4 * FIRST_HANDLER, table.size, 4)
    ]
    return sorted({word for word in words if word not in (0, unhandled)})


@dataclass
class StackAnalysis:
    """Depths of functions of one image, each worked out once.

    `assumed` gives the depth of functions by name that are not to be looked into.
    """

    image: Image
    assumed: Mapping[str, int] = field(default_factory=dict)
    _depths: dict[int, int] = field(default_factory=dict)
    _deepest: dict[int, tuple[int, int]] = field(default_factory=dict)  # (callee, depth there)
    _active: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        functions = [s for s in self.image.symbols if s.function]
        self._names: dict[int, str] = {}
        self._end: dict[int, int] = {}
        for symbol in functions:
            self._names.setdefault(symbol.address, symbol.name)
            if symbol.size:
                self._end[symbol.address] = symbol.address + symbol.size
            if symbol.name in self.assumed:
                self._depths[symbol.address] = self.assumed[symbol.name]

    def depth_of(self, name: str) -> int:
        """Bytes that a function needs with all it calls. Raises BuildError."""
        address = self.image.address_of(name)
        if address is None:
            raise BuildError(f"{self.image.path}: the ELF has no function `{name}`")
        return self.depth(address)

    def path(self, name: str) -> tuple[tuple[str, int], ...]:
        """The chain of calls that needs most, from `name` on; call depth_of() first."""
        address, depth = self.image.address_of(name), 0
        chain = []
        while address is not None:
            chain.append((self._name(address), depth))
            step = self._deepest.get(address)
            address, depth = (step[0], depth + step[1]) if step else (None, 0)
        return tuple(chain)

    def depth(self, entry: int) -> int:
        """Bytes that the function at an address needs with all it calls. Raises BuildError."""
        known = self._depths.get(entry)
        if known is not None:
            return known
        if entry in self._active:
            cycle = self._active[self._active.index(entry) :]
            names = " → ".join(self._name(address) for address in [*cycle, entry])
            raise BuildError(
                f"the stack cannot be bounded: recursion {names}", "write it as a loop"
            )
        if not self.image.is_code(entry):
            raise BuildError(f"the stack cannot be bounded: a call to 0x{entry:08x}, which is data")
        self._active.append(entry)
        result = self._walk(entry)
        self._active.pop()
        self._depths[entry] = result
        return result

    def _name(self, address: int) -> str:
        return self._names.get(address, f"0x{address:08x}")

    def _function_end(self, address: int) -> int:
        """Where the function that contains an address ends."""
        starts = [s for s, end in self._end.items() if s <= address < end]
        return self._end[max(starts)] if starts else address

    def _walk(self, entry: int) -> int:
        """Follows all paths from an entry; the deepest point, calls included."""
        image, deepest = self.image, 0
        seen: dict[int, int] = {}
        work = [(entry, 0, 0)]
        while work:
            address, depth, conditional = work.pop()
            if seen.get(address, -1) >= depth:
                continue
            if depth > DEEPEST:
                self._refuse(entry, address, "the stack grows in a loop")
            seen[address] = depth
            instruction = decode(image, address)
            flow, target = instruction.flow, instruction.target
            if flow is Flow.CALL and self._is_inside(address, target):
                flow = Flow.JUMP  # compilers reach far within a function of Armv6-M with BL
            after = address + instruction.size
            if flow is Flow.INDIRECT:
                cases = self._cases(address)
                if not cases:
                    self._refuse(entry, address, "a jump or call through a pointer")
                work += [(to, depth, 0) for to in cases]
                continue
            if flow is Flow.UNKNOWN_STACK:
                self._refuse(entry, address, "the size of its frame is not known at compile time")
            needed = depth
            if flow in (Flow.CALL, Flow.JUMP, Flow.BRANCH) and self._is_call(entry, flow, target):
                needed += self.depth(target)
                if needed > deepest:
                    self._deepest[entry] = (target, depth)
            # A conditional pop may not happen: the deeper of the two is what counts.
            depth += max(instruction.push, 0) if conditional else instruction.push
            deepest = max(deepest, needed, depth)
            left = instruction.conditional or max(conditional - 1, 0)
            if flow in (Flow.JUMP, Flow.BRANCH) and not self._is_call(entry, flow, target):
                work.append((target, depth, 0))
            elif flow is Flow.TABLE:
                work += [(to, depth, 0) for to in self._table(after, instruction.width)]
            stops = flow in (Flow.RETURN, Flow.JUMP, Flow.STOP, Flow.TABLE) and not conditional
            never_returns = flow is Flow.CALL and after >= self._function_end(address)
            if not stops and not never_returns and image.is_code(after):
                work.append((after, depth, left))
        return deepest

    def _is_inside(self, address: int, target: int) -> bool:
        """Whether a target lies in the function that contains an address, behind its beginning."""
        starts = [s for s, end in self._end.items() if s <= address < end]
        return bool(starts) and max(starts) < target < self._end[max(starts)]

    def _is_call(self, entry: int, flow: Flow, target: int) -> bool:
        """A call, or a jump to the beginning of another function (a tail call)."""
        return flow is Flow.CALL or (target != entry and target in self._names)

    def _table(self, base: int, width: int) -> set[int]:
        """Where a jump table leads; padding points into the table itself and is left out."""
        end = self.image.data_end(base) if not self.image.is_code(base) else base
        offset = base - self.image.text_address
        targets = set()
        for i in range(0, end - base - width + 1, width):
            entry = int.from_bytes(self.image.text[offset + i : offset + i + width], "little")
            if base + 2 * entry >= end and self.image.is_code(base + 2 * entry):
                targets.add(base + 2 * entry)
        return targets

    def _cases(self, address: int) -> set[int]:
        """Where a MOV PC, Rx of Armv6-M leads when it is a switch of compiled code: Rx comes from a
        table of addresses, whose own address is a literal. Empty if it is anything else."""
        image = self.image
        jump, load = image.halfword(address), image.halfword(address - 2)
        register = jump >> 3 & 0xF
        if jump & 0xFF87 != 0x4687 or load & 0xFE07 != 0x5800 | register:  # LDR Rx, [Ra, Rb]
            return set()
        parts = (load >> 3 & 7, load >> 6 & 7)
        for before in range(address - 4, address - 14, -2):
            literal = image.halfword(before)
            if literal & 0xF800 == 0x4800 and literal >> 8 & 7 in parts:  # LDR Ra, [PC, #imm]
                return self._addresses(
                    image.word((before + 4 & ~3) + 4 * (literal & 0xFF)), address
                )
        return set()

    def _addresses(self, table: int, within: int) -> set[int]:
        """The addresses in a table, up to the first that is not in the function around `within`."""
        starts = [s for s, end in self._end.items() if s <= within < end]
        targets: set[int] = set()
        while starts:
            target = self.image.word(table) & ~1
            if not (max(starts) < target < self._end[max(starts)] and self.image.is_code(target)):
                break
            targets.add(target)
            table += 4
        return targets

    def _refuse(self, entry: int, address: int, why: str) -> None:
        raise BuildError(
            f"the stack cannot be bounded: {why}, in `{self._name(entry)}` at 0x{address:08x}",
            "the bound allows no recursion, no function pointers and no variable-length arrays",
        )
