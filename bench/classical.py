"""Classical models by tinykit and by emlearn: accuracy, flash, SRAM, instructions.

scikit-learn's digits (64 features, 10 classes) and breast_cancer (30 features, 2 classes), a third
of each held out; a mixture's accuracy is how often it says what scikit-learn says.  Runs on QEMU;
both engines are compiled with the same flags into the same program.  emlearn gets what it asks for:
integers for its trees (0 … 16,000, for both engines) and neighbours (0 … 1,000: its sums of squares
have 32 bits), small floats for its naive Bayes and mixtures (0 … 16).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from bench.measuring.classical import Measured, Task, measure
from bench.measuring.failure import failed
from tinykit.boards import load_board
from tinykit.errors import TinykitError
from tinykit.report.report import Column, Report, Table, numbers
from tinykit.targets.qemu import qemu_installed

BOARDS = ("mps2_an386", "mps2_an385_m0plus")
WAYS: dict[str, dict[str, Any]] = {
    "inline": {"method": "inline", "dtype": "int16_t"},
    "inline, soft votes": {"method": "inline", "dtype": "int16_t", "leaf_bits": 8},
    "loadable": {"method": "loadable", "dtype": "int16_t"},
}


def tasks(chosen: list[str] | None = None) -> list[Task]:
    """All estimators, fitted; or those whose names are chosen."""
    from sklearn.datasets import load_breast_cancer, load_digits
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        GradientBoostingClassifier,
        RandomForestClassifier,
    )
    from sklearn.linear_model import LogisticRegression
    from sklearn.mixture import GaussianMixture
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler
    from sklearn.svm import SVC
    from sklearn.tree import DecisionTreeClassifier

    integers: dict[str, Any] = {"emlearn": WAYS, "largest": 16000}
    neighbours: dict[str, Any] = {
        "emlearn": {"loadable": {}},
        "largest": 1000,
        "globals": "static EmlNeighborsDistanceItem distances[{items}];\nstatic int16_t label;",
        "call": "eml_neighbors_predict(&m, sample, {count}, distances, {items}, &label)",
    }
    bayes: dict[str, Any] = {"emlearn": {"fixed point": {}}, "type": "float"}
    mixture: dict[str, Any] = {
        "emlearn": {"float": {}},
        "type": "float",
        "globals": "static float densities[3];",
        "call": "m_predict_log_proba(sample, {count}, densities)",
    }
    made = []
    for data, load in (("digits", load_digits), ("breast_cancer", load_breast_cancer)):
        x, y = load(return_X_y=True)
        test = np.arange(len(x)) % 3 == 0
        for name, estimator, more in (
            ("decision tree", DecisionTreeClassifier(max_depth=8, random_state=0), integers),
            ("random forest, 10", RandomForestClassifier(10, random_state=0), integers),
            ("extra trees, 10", ExtraTreesClassifier(10, random_state=0), integers),
            ("boosting, 20", GradientBoostingClassifier(n_estimators=20, random_state=0), {}),
            ("naive Bayes", GaussianNB(), bayes),
            ("neighbours, 5", KNeighborsClassifier(5), neighbours),
            ("logistic", make_pipeline(StandardScaler(), LogisticRegression()), {}),
            ("SVM, RBF", make_pipeline(StandardScaler(), SVC()), {}),
            ("mixture, 3", GaussianMixture(3, reg_covar=0.1, random_state=0), mixture),
        ):
            if chosen and name not in chosen and data not in chosen:
                continue
            rest = dict(more)
            scaler = MinMaxScaler((0, rest.pop("largest", 16))).fit(x)
            scaled = scaler.transform(x).astype(np.float32)
            scaled = np.rint(scaled) if more.get("largest") else scaled
            fit_x, test_x = scaled[~test], scaled[test]
            estimator.fit(fit_x, y[~test])
            truth = y[test] if hasattr(estimator, "classes_") else estimator.predict(test_x)
            made.append(
                Task(f"{data}: {name}", estimator, fit_x, test_x, truth, **{"emlearn": {}, **rest})
            )
    return made


def main() -> int:
    """The command: 0 done, 1 failed, 2 wrong usage."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--board", action="append", help=f"default {', '.join(BOARDS)}")
    parser.add_argument("--only", action="append", metavar="NAME", help="a model or a data set")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--work", type=Path, help="keep the builds here")
    options = parser.parse_args()
    try:
        if not qemu_installed():
            raise TinykitError(
                "qemu-system-arm is not installed", "apt-get install qemu-system-arm"
            )
        with tempfile.TemporaryDirectory() as temporary:
            return _run(options, (options.work or Path(temporary)).absolute())
    except (TinykitError, KeyboardInterrupt) as error:
        return failed(error)


def _run(options: argparse.Namespace, work: Path) -> int:
    found: dict[str, list[Measured]] = {}
    for name in options.board or BOARDS:
        board, results = load_board(name), []
        for index, task in enumerate(tasks(options.only)):

            def say(what: str, board_name: str = name) -> None:
                print(f"{board_name}: {what} …", file=sys.stderr, flush=True)

            results += measure(task, board, work / f"{name}-{index}", say)
        found[name] = results
        if not options.json:
            Report({}, (name, _table(results))).print(Console(highlight=False))
    if options.json:
        data = {name: [r.data() for r in results] for name, results in found.items()}
        print(json.dumps(data, indent=2))
    return 0


def _table(results: list[Measured]) -> Table:
    columns = (*map(Column, ("model", "engine")),
               *numbers("accuracy", "flash B", "SRAM B", "instructions"), Column(""))  # fmt: skip

    def count(value: int | None) -> str:
        return "" if value is None else f"{value:,}"

    rows = tuple(
        (
            r.task, r.engine,
            "" if r.accuracy is None else f"{100 * r.accuracy:.1f} %",
            count(r.flash), count(r.sram), count(r.instructions), r.said,
        )
        for r in results
    )  # fmt: skip
    return Table(columns, rows)


if __name__ == "__main__":
    sys.exit(main())
