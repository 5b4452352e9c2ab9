"""Kernels for the tests of this folder."""

from tests.support.fixtures import kernels, sanitized_kernels

__all__ = ["kernels", "sanitized_kernels"]
