"""What requests and replies mean: the numbers of firmware/src/protocol.h, and typed replies."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Self

from tinykit.errors import LinkError

PROTOCOL_VERSION = 3
REPLY = 0x80
INLINE_OUTPUT = 32


class Kind(IntEnum):
    """Requests of the host, and the one message that the device sends unasked."""

    HELLO = 0x01
    COUNTERS = 0x02
    WRITE_INPUT = 0x10
    INFER = 0x11
    READ_OUTPUT = 0x12
    TRAIN = 0x13
    APPLY = 0x14
    RESET = 0x15
    WRITE_TARGET = 0x16
    LEARN = 0x17
    BEGIN = 0x18
    PUSH = 0x19
    READ_PARAMETERS = 0x20
    CHECK_PARAMETERS = 0x21
    SAVE = 0x22
    READ_SAVED = 0x23
    WRITE_SAVED = 0x24
    LOAD = 0x25
    TELEMETRY = 0x28
    TRACE = 0x30
    FAULT = 0xFF


class Status(IntEnum):
    """What the device says about a request."""

    OK = 0
    WORKING = 1
    UNKNOWN = 2
    LENGTH = 3
    RANGE = 4
    SESSION = 5
    SEQUENCE = 6
    PROTOCOL = 7
    CONTENT = 8
    ORDER = 9
    UNSUPPORTED = 10
    MODEL = 11


STATUS_TEXT = {
    Status.UNKNOWN: "the firmware does not know this request",
    Status.LENGTH: "the request's payload has the wrong length",
    Status.RANGE: "the request reaches outside the model's memory",
    Status.SESSION: "the device was restarted: what it learnt since the last save is lost",
    Status.SEQUENCE: "requests got out of order",
    Status.CONTENT: "the data that arrived is not the data that was sent",
    Status.ORDER: "there is nothing to read: it was never made, or has been overwritten",
    Status.UNSUPPORTED: "this firmware was built without it",
}

MODEL_STATUS_TEXT = {
    1: "the loss does not take such a target (a label that the model has no class for?)",
    2: "these are not saved parameters, or of another version",
    3: "these parameters were saved by another model",
    4: "the saved parameters are damaged",
    5: "the saved parameters have the wrong size",
    6: "no sample is kept: none has run since the start or the last load",
}


class HelloFlag(IntFlag):
    """What the firmware was built with."""

    TRAINS = 1
    TRACES = 2
    LEARNS = 4
    HEARS = 8


def _unpack(layout: struct.Struct, payload: bytes, what: str) -> tuple[int, ...]:
    if len(payload) != layout.size:
        raise LinkError(
            f"the device's reply to {what} has {len(payload)} bytes instead of {layout.size}",
            "build and flash the firmware with this version of tinykit",
        )
    return layout.unpack(payload)


@dataclass(frozen=True)
class Hello:
    """Who the device is. Sizes in bytes; `payload` is the longest payload of a frame."""

    flags: HelloFlag
    payload: int
    input_bytes: int
    output_bytes: int
    parameter_bytes: int
    save_bytes: int
    op_count: int
    identity: str
    name: str

    @property
    def trains(self) -> bool:
        """Whether the firmware can train."""
        return HelloFlag.TRAINS in self.flags

    @property
    def learns(self) -> bool:
        """Whether the firmware can train on the last sample again."""
        return HelloFlag.LEARNS in self.flags

    @property
    def hears(self) -> bool:
        """Whether the firmware has a frontend that takes samples of a sensor."""
        return HelloFlag.HEARS in self.flags

    @property
    def traces(self) -> bool:
        """Whether the firmware was built with the layer trace."""
        return HelloFlag.TRACES in self.flags

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Raises LinkError if the lengths are wrong or the sizes impossible."""
        layout = struct.Struct("<HBxIIIIII16s")
        if len(payload) < layout.size:
            raise LinkError(f"the device's reply to HELLO has only {len(payload)} bytes")
        _, flags, longest, inputs, outputs, parameters, save, ops, identity = layout.unpack_from(
            payload
        )
        if not 64 <= longest <= 4096:
            raise LinkError(
                f"the device announces frames of {longest} bytes; 64 … 4096 are possible"
            )
        name = payload[layout.size :].decode("utf-8", "replace")
        return cls(
            flags=HelloFlag(flags & 15),
            payload=longest,
            input_bytes=inputs,
            output_bytes=outputs,
            parameter_bytes=parameters,
            save_bytes=save,
            op_count=ops,
            identity=identity.hex(),
            name=name,
        )


@dataclass(frozen=True)
class Step:
    """What one training step answered (tk_step in tinykit.h); `loss_bits` is the float32 itself.

    `skipped` steps since the start changed nothing; this one changed `updated` weights and biases;
    the guard has gone back `rollbacks` times since the start.
    """

    status: int
    prediction: int
    loss_bits: int
    step: int
    saturations: int
    skipped: int
    updated: int
    rollbacks: int

    @property
    def loss(self) -> float:
        """The loss (cross-entropy in nats), before the update."""
        value: float = struct.unpack("<f", struct.pack("<I", self.loss_bits))[0]
        return value

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Raises LinkError if the length is wrong."""
        return cls(*_unpack(struct.Struct("<IiIIIIII"), payload, "TRAIN"))


@dataclass(frozen=True)
class Change:
    """What a training step did to one trained tensor (tk_change in tinykit.h).

    updated: its weights or biases that changed; moved: sum of |change|, in units of the master;
    magnitude: sum of |weight| or |bias| after the step, in whole integer steps.
    """

    updated: int
    moved: int
    magnitude: int


@dataclass(frozen=True)
class Telemetry:
    """The last training step: its number, the gradients that it saturated, its cycles (0: this core
    has no counter), and some of the `trained` tensors, biases first."""

    step: int
    saturated: int
    cycles: int
    trained: int
    changes: tuple[Change, ...]

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Raises LinkError if the length is wrong."""
        head, entry = struct.Struct("<4I"), struct.Struct("<IQQ")
        if len(payload) < head.size or (len(payload) - head.size) % entry.size:
            raise LinkError(f"the device's reply to TELEMETRY has {len(payload)} bytes")
        changes = tuple(Change(*values) for values in entry.iter_unpack(payload[head.size :]))
        step, saturated, cycles, trained = head.unpack_from(payload)
        return cls(step, saturated, cycles, trained, changes)


@dataclass(frozen=True)
class Counters:
    """What the device counted.

    `stack_used` is the stack's high-water mark in bytes; `cycles` are those of the last inference
    or step (0: this core or emulator has no cycle counter); `dropped` are frames that came damaged;
    `repeated` are requests that arrived more than once and were done once; `rollbacks` is how often
    the guard has gone back to earlier parameters.
    """

    step: int
    saturations: int
    stack_used: int
    cycles: int
    dropped: int
    repeated: int
    rollbacks: int

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Raises LinkError if the length is wrong."""
        return cls(*_unpack(struct.Struct("<7I"), payload, "COUNTERS"))


_EXCEPTIONS = {2: "NMI", 3: "HardFault", 4: "MemManage fault", 5: "BusFault", 6: "UsageFault"}

_CFSR = {
    0: "instruction fetch not allowed",
    1: "data access not allowed",
    4: "stack overflow on exception entry",
    8: "instruction fetch failed",
    9: "data access failed",
    10: "imprecise data access failed",
    12: "stack overflow on exception entry",
    16: "undefined instruction",
    17: "invalid state",
    18: "invalid return",
    19: "no coprocessor",
    20: "stack overflow",
    24: "unaligned access",
    25: "division by zero",
}


@dataclass(frozen=True)
class Fault:
    """A processor fault that the firmware reported (exception number, address, CFSR)."""

    exception: int
    pc: int
    cfsr: int

    def __str__(self) -> str:
        name = _EXCEPTIONS.get(self.exception, f"exception {self.exception}")
        causes = [text for bit, text in _CFSR.items() if self.cfsr >> bit & 1]
        return f"{name} at 0x{self.pc:08x}" + (f" ({', '.join(causes)})" if causes else "")

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Raises LinkError if the length is wrong."""
        return cls(*_unpack(struct.Struct("<3I"), payload, "FAULT"))

    def pack(self) -> bytes:
        """The payload that says this."""
        return struct.pack("<3I", self.exception, self.pc, self.cfsr)
