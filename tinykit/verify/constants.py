"""Constants of a firmware file beside those of the host reference's library, byte by byte.

Running samples shows what a firmware does with those samples. An altered weight of a channel that
no sample wakes shows only here.
"""

from __future__ import annotations

from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from tinykit.codegen.constants import identifier
from tinykit.errors import VerifyError
from tinykit.verify.reference import ManifestLike
from tinykit.verify.result import AlteredConstant


def altered_constants(
    elf: Path, library: Path, manifest: ManifestLike
) -> tuple[AlteredConstant, ...]:
    """Constants of the generated code whose bytes in `elf` are not those in the host's `library`.

    Only objects of the same size in both are compared: descriptors that hold addresses have other
    sizes on a 64-bit host. In the order of the layers. Raises VerifyError if a file cannot be read.
    """
    wanted = set(manifest.symbols)
    ours, theirs = _contents(elf, wanted), _contents(library, wanted)
    layers = list(dict.fromkeys(op.layer for op in manifest.ops))
    found = []
    for symbol in manifest.symbols:
        a, b = ours.get(symbol, b""), theirs.get(symbol, b"")
        if len(a) == len(b) and a != b:
            differing = sum(x != y for x, y in zip(a, b, strict=True))
            layer = _layer(symbol.removeprefix(f"{manifest.name}_"), layers)
            found.append(AlteredConstant(symbol, layer, len(a), differing))
    order = {layer: index for index, layer in enumerate(layers)}
    return tuple(sorted(found, key=lambda constant: order.get(constant.layer, len(order))))


def _layer(symbol: str, layers: list[str]) -> str:
    """The layer with the longest name that the symbol starts with."""
    fitting = [layer for layer in layers if f"{symbol}_".startswith(f"{identifier(layer)}_")]
    return max(fitting, key=len, default="")


def _contents(path: Path, wanted: set[str]) -> dict[str, bytes]:
    """The bytes of each wanted object that lies in a section with contents."""
    try:
        with path.open("rb") as file:
            image = ELFFile(file)
            table = image.get_section_by_name(".symtab")
            if not isinstance(table, SymbolTableSection):
                return {}
            found = {}
            for symbol in table.iter_symbols():
                where = symbol["st_shndx"]
                if symbol.name not in wanted or not isinstance(where, int):
                    continue
                section = image.get_section(where)
                if section["sh_type"] == "SHT_NOBITS":
                    continue
                start = symbol["st_value"] - section["sh_addr"]
                found[symbol.name] = section.data()[start : start + symbol["st_size"]]
            return found
    except (OSError, ELFError) as error:
        raise VerifyError(f"cannot read {path} as an ELF file: {error}") from error
