"""`python -m bench.measuring.emlearn_models FOLDER`: emlearn's C for the estimator in a folder.

In a process of its own: emlearn sets NumPy to raise on every underflow.  Reads estimator.joblib,
which the bench has just made, x.npy (rows to predict), options.json; writes m.h, predictions.npy.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np


def main() -> int:
    """Exit code 1 with one line on stderr where emlearn refuses."""
    import emlearn
    import joblib

    folder = Path(sys.argv[1])
    warnings.simplefilter("ignore")
    estimator, x = joblib.load(folder / "estimator.joblib"), np.load(folder / "x.npy")
    options = json.loads((folder / "options.json").read_text())
    model = emlearn.convert(estimator, **options)
    model.save(name="m", file=str(folder / "m.h"))
    np.save(folder / "predictions.npy", np.asarray(model.predict(x)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
