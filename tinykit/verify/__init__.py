"""Proof that a device does what the host reference does, bit for bit, training included."""

from tinykit.verify.result import AlteredConstant, Difference, Location, TensorBits, VerifyResult
from tinykit.verify.sequence import compare, verify

__all__ = [
    "AlteredConstant",
    "Difference",
    "Location",
    "TensorBits",
    "VerifyResult",
    "compare",
    "verify",
]
