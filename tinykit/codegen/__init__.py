"""Programs to C and to a manifest."""

from tinykit.codegen.generate import Compiled, compile_model, generate, write
from tinykit.codegen.manifest import Manifest

__all__ = ["Compiled", "Manifest", "compile_model", "generate", "write"]
