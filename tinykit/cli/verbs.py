"""The verbs, in the order in which a project uses them; `tinykit --help` lists them so."""

from __future__ import annotations

from collections.abc import Callable

from tinykit.cli.boards import boards
from tinykit.cli.build import build
from tinykit.cli.doctor import doctor
from tinykit.cli.eval import evaluate
from tinykit.cli.flash import flash
from tinykit.cli.generate import generate
from tinykit.cli.infer import infer
from tinykit.cli.inspect import inspect
from tinykit.cli.new import new
from tinykit.cli.plan import plan
from tinykit.cli.quantize import quantize
from tinykit.cli.run import run
from tinykit.cli.size import size
from tinykit.cli.train import train
from tinykit.cli.verify import verify

VERBS: dict[str, Callable[..., None]] = {
    "new": new,
    "doctor": doctor,
    "boards": boards,
    "inspect": inspect,
    "quantize": quantize,
    "plan": plan,
    "generate": generate,
    "build": build,
    "run": run,
    "infer": infer,
    "train": train,
    "eval": evaluate,
    "verify": verify,
    "flash": flash,
    "size": size,
}
