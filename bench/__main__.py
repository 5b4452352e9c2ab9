"""`python -m bench`: the list of measurements; `python -m bench NAME …`: run one of them."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path


def names() -> list[str]:
    """Every module of this folder that can be run."""
    found = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted(module.name for module in found if not module.ispkg and module.name[0] != "_")


def main() -> int:
    """Exit code of the measurement; 2 for a name that is none."""
    if len(sys.argv) > 1 and sys.argv[1] in names():
        name = sys.argv.pop(1)
        sys.argv[0] = f"bench {name}"
        return int(importlib.import_module(f"bench.{name}").main())
    print("usage: python -m bench NAME [options]      (make bench ARGS='NAME [options]')\n")
    for name in names():
        doc = importlib.import_module(f"bench.{name}").__doc__ or ""
        print(f"  {name:20} {doc.strip().splitlines()[0]}")
    return 2 if len(sys.argv) > 1 and sys.argv[1] not in ("-h", "--help") else 0


if __name__ == "__main__":
    sys.exit(main())
