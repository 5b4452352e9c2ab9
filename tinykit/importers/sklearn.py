"""Fitted scikit-learn estimators and pipelines to graphs, quantized with samples.

scikit-learn and skops are imported inside functions only: nothing else of tinykit needs them.
A .skops file holds data and names of types, and only types of scikit-learn's own are accepted;
.joblib and .pkl files are Python programs, so they are opened only where the user says so.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinykit.errors import ModelError, TinykitError, UsageError
from tinykit.importers.classical import distances, gaussian, linear, trees
from tinykit.importers.classical.builder import Builder, Refusal, Values
from tinykit.importers.graph_file import SUFFIX
from tinykit.ir import Array, Graph

SAFE, UNSAFE = (".skops",), (".joblib", ".pkl", ".pickle")
SUFFIXES = (*SAFE, *UNSAFE)
# Compiled types of scikit-learn that skops does not know: they hold arrays and run nothing.
TRUSTED = (
    "sklearn._loss._loss.CyHalfBinomialLoss",
    "sklearn._loss._loss.CyHalfMultinomialLoss",
    "sklearn._loss._loss.CyHalfSquaredError",
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.IdentityLink",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.link.MultinomialLogit",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn._loss.loss.HalfMultinomialLoss",
    "sklearn._loss.loss.HalfSquaredError",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.metrics._dist_metrics.EuclideanDistance",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.tree._tree.Tree",
)
INSTALL = "pip install 'tinykit-mcu[sklearn]'"

Import = Callable[[Builder, Any, Values, Refusal], str]
ESTIMATORS: dict[str, Import] = {
    **dict.fromkeys(("DecisionTreeClassifier", "ExtraTreeClassifier"), trees.classifier),
    **dict.fromkeys(("RandomForestClassifier", "ExtraTreesClassifier"), trees.classifier),
    **dict.fromkeys(("DecisionTreeRegressor", "ExtraTreeRegressor"), trees.regressor),
    **dict.fromkeys(("RandomForestRegressor", "ExtraTreesRegressor"), trees.regressor),
    "GradientBoostingClassifier": trees.boosting_classifier,
    "HistGradientBoostingClassifier": trees.boosting_classifier,
    "GradientBoostingRegressor": trees.boosting_regressor,
    "HistGradientBoostingRegressor": trees.boosting_regressor,
    **dict.fromkeys(("LogisticRegression", "SGDClassifier", "LinearSVC"), linear.classifier),
    **dict.fromkeys(("RidgeClassifier", "Perceptron"), linear.classifier),
    "LinearDiscriminantAnalysis": linear.classifier,
    "MultinomialNB": linear.multinomial_bayes,
    **dict.fromkeys(("LinearRegression", "Ridge", "Lasso", "ElasticNet"), linear.regressor),
    **dict.fromkeys(("SGDRegressor", "LinearSVR", "BayesianRidge"), linear.regressor),
    **dict.fromkeys(("SVC", "NuSVC"), distances.svc),
    **dict.fromkeys(("SVR", "NuSVR"), distances.svr),
    "OneClassSVM": distances.one_class,
    "KNeighborsClassifier": distances.neighbours,
    "NearestCentroid": distances.centroids,
    **dict.fromkeys(("KMeans", "MiniBatchKMeans"), distances.clusters),
    "GaussianNB": gaussian.naive_bayes,
    "GaussianMixture": gaussian.mixture,
    **dict.fromkeys(("PCA", "TruncatedSVD"), linear.reduction),
}
SCALERS = ("StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler")
PROJECTIONS = ("PCA", "TruncatedSVD")
METRIC = (distances.neighbours, distances.centroids, distances.clusters, distances.svc,
          distances.svr, distances.one_class)  # fmt: skip


def open_estimator(path: Path, unpickle: bool = False) -> Any:
    """The fitted estimator of a file. unpickle: pickles, too, which run the code that they hold.

    Raises ModelError naming the file, UsageError for a pickle that nobody vouched for.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file", f"give a {', '.join(SUFFIXES)} file")
    if path.suffix.lower() in UNSAFE and not unpickle:
        raise UsageError(
            f"{path}: opening a {path.suffix} file runs whatever code it holds",
            "save the estimator with skops.io.dump, or add --unpickle if you made this file",
        )
    if path.suffix.lower() in UNSAFE:
        warnings.warn(f"{path} runs whatever code it holds while it is opened", stacklevel=1)
    try:
        import sklearn  # noqa: F401

        if path.suffix.lower() in UNSAFE:
            import joblib

            opener: Callable[[], Any] = lambda: joblib.load(path)  # noqa: E731
        else:
            import skops.io

            opener = lambda: skops.io.load(path, trusted=list(_trusted(path)))  # noqa: E731
    except ImportError as error:
        raise TinykitError(f"this needs scikit-learn and skops: {error}", INSTALL) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return opener()
    except TinykitError:
        raise
    except Exception as error:  # both raise many types on a damaged file
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(
            f"{path}: scikit-learn cannot open it: {reason}",
            "save the estimator with the version of scikit-learn that is installed here",
        ) from error


def _trusted(path: Path) -> tuple[str, ...]:
    import skops.io

    strange = sorted(set(skops.io.get_untrusted_types(file=path)) - set(TRUSTED))
    if strange:
        raise ModelError(
            f"{path}: holds {strange[0]}, which is not scikit-learn's",
            f"supported are {', '.join(sorted(ESTIMATORS))}, and pipelines of them",
        )
    return TRUSTED


def load_file(path: Path) -> Graph:
    """Raises ModelError: ranges are measured, never guessed, so an estimator is no graph yet."""
    raise ModelError(
        f"{path}: an estimator of scikit-learn must be quantized with samples of its data",
        f"tinykit quantize {path} --out {path.with_suffix(SUFFIX).name}",
    )


def load_sklearn(estimator: Any, samples: npt.ArrayLike, name: str = "model") -> Graph:
    """The graph of a fitted estimator or pipeline; `samples` [n, F] real set the ranges.

    Raises ModelError in one line naming estimator and parameter for what is not supported.
    """
    *before, last = _steps(estimator)
    x = checked_samples(estimator, samples)
    kind = type(last).__name__
    refuse = Refusal(kind)
    _check(last, refuse)
    rule = ESTIMATORS[kind]
    build = Builder(re.sub(r"\W+", "_", name).strip("_") or "model")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = _prepared(build, before, last, x, rule in METRIC)
        return build.graph(rule(build, last, values, refuse))


def predictions(estimator: Any, samples: Array) -> Array:
    """What the estimator itself says of [n, F]: class numbers [n], or values [n, outputs]."""
    *_, last = _steps(estimator)
    centers = getattr(last, "cluster_centers_", samples)
    samples = samples.astype(centers.dtype)  # KMeans takes nothing but what it was fitted to
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not hasattr(estimator, "predict"):
            return np.asarray(estimator.transform(samples), np.float64)
        found = np.asarray(estimator.predict(samples))
    if type(last).__name__ == "OneClassSVM":
        return np.asarray(found > 0, np.int64)
    if hasattr(last, "classes_"):
        return np.searchsorted(last.classes_, found)
    whole = found.dtype.kind in "iu" and not hasattr(last, "coef_")  # clusters and components
    return found if whole else found.reshape(len(found), -1).astype(np.float64)


def checked_samples(estimator: Any, samples: npt.ArrayLike) -> Array:
    """[n, F] float64 that the estimator takes. Raises ModelError when number or values don't."""
    first = _steps(estimator)[0]
    count = getattr(first, "n_features_in_", None)
    x = np.asarray(samples)
    if x.ndim < 2 or x.dtype.kind != "f" or not len(x) or not np.isfinite(x).all():
        raise ModelError(
            f"samples are {x.dtype} {list(x.shape)}",
            "they must be finite real [n, features]",
        )
    x = x.reshape(len(x), -1).astype(np.float64)
    if count is None:
        raise ModelError(f"{type(first).__name__} is not fitted", "fit it before it is saved")
    if x.shape[1] != count:
        raise ModelError(
            f"samples have {x.shape[1]} features, {type(first).__name__} was fitted to {count}"
        )
    return x


def _steps(estimator: Any) -> list[Any]:
    """The steps of a pipeline, nested ones in place; ModelError for what cannot be one."""
    if type(estimator).__name__ != "Pipeline":
        return [estimator]
    steps = _flat(estimator)
    if not steps:
        raise ModelError("the pipeline has no steps", f"supported: {', '.join(sorted(ESTIMATORS))}")
    for index, step in enumerate(steps):
        last = index == len(steps) - 1
        known = sorted(ESTIMATORS if last else {*SCALERS, *PROJECTIONS})
        name, module = type(step).__name__, type(step).__module__
        if name not in known or not module.startswith("sklearn."):
            where = "as the last step" if last else "before another step"
            raise ModelError(
                f"{name} is not supported {where} of a pipeline", f"supported: {', '.join(known)}"
            )
    return steps


def _flat(estimator: Any) -> list[Any]:
    """Steps that do something."""
    if type(estimator).__name__ != "Pipeline":
        return [estimator]
    steps = [step for _, step in estimator.steps if step is not None and step != "passthrough"]
    return [inner for step in steps for inner in _flat(step)]


def _check(last: Any, refuse: Refusal) -> None:
    """That an estimator is one of ours, fitted, with classes that our labels can name."""
    name = type(last).__name__
    if name not in ESTIMATORS or not type(last).__module__.startswith("sklearn."):
        raise ModelError(
            f"{name} is not supported",
            f"supported: {', '.join(sorted(ESTIMATORS))}, after {', '.join(SCALERS)}",
        )
    if not hasattr(last, "n_features_in_"):
        raise ModelError(f"{name} is not fitted", "fit it before it is saved")
    sparse = [key for key, value in vars(last).items() if hasattr(value, "tocsr")]
    refuse.require(not sparse, "sparse", ", ".join(sparse), "dense training data")
    outputs = getattr(last, "n_outputs_", 1)
    refuse.require(outputs == 1, "outputs", outputs, "one target")
    classes = getattr(last, "classes_", None)
    if classes is None:
        return
    refuse.require(isinstance(classes, np.ndarray), "classes_", classes, "one target")
    numbered = classes.dtype.kind in "iuf" and np.array_equal(classes, np.arange(len(classes)))
    refuse.require(
        numbered or classes.dtype.kind in "UO" or classes.dtype == bool,
        "classes_", classes.tolist(), "classes numbered 0, 1, 2 …, or named",
    )  # fmt: skip
    refuse.require(len(classes) > 1, "classes_", classes.tolist(), "two classes or more")


def _prepared(build: Builder, before: list[Any], last: Any, x: Array, metric: bool) -> Values:
    """The input of the last step: scalers cost nothing, projections are dense layers."""
    factor, shift = np.ones(x.shape[1]), np.zeros(x.shape[1])
    values: Values | None = None
    for index, step in enumerate(before):
        refuse = Refusal(type(step).__name__)
        if type(step).__name__ in SCALERS:
            scale, offset = _scaler(step, len(factor), refuse)
            factor, shift = factor * scale, shift * scale + offset
            continue
        values = _read(build, values, factor, shift, x, None, common=False)
        weights, bias = linear.projection(step)
        rest = [type(later).__name__ for later in before[index + 1 :]]
        common = metric and not any(name in PROJECTIONS for name in rest)
        common_units = np.ones(len(weights))
        if common:  # scalers behind it change which scales are equal
            for later in before[index + 1 :]:
                common_units = common_units * _scaler(later, len(weights), Refusal("scaler"))[0]
        weights, bias = weights * common_units[:, None], bias * common_units
        values = build.affine(values, weights, bias, common, f"projection{index}")
        factor, shift = 1 / common_units, np.zeros(len(weights))
    return _read(build, values, factor, shift, x, last, common=metric)


def _read(
    build: Builder,
    values: Values | None,
    factor: Array,
    shift: Array,
    x: Array,
    last: Any,
    *,
    common: bool,
) -> Values:
    """What scalers make of the model's input, or of a projection's output."""
    if values is not None:
        return Values(
            values.name,
            values.scale * factor,
            values.offset * factor + shift,
            values.samples * factor + shift,
        )
    samples = x * factor + shift
    low, high = samples.min(axis=0), samples.max(axis=0)
    if last is not None and ESTIMATORS[type(last).__name__].__module__ == trees.__name__:
        low, high = trees.limits(last, low, high, Refusal(type(last).__name__))
    made = build.input(factor, shift, low, high, common)
    return Values(made.name, made.scale, made.offset, samples)


def _scaler(step: Any, count: int, refuse: Refusal) -> tuple[Array, Array]:
    """(factor, shift) [F] of a fitted scaler."""
    name = type(step).__name__
    if name == "MinMaxScaler":
        refuse.require(not step.clip, "clip", step.clip, "False")
        return np.asarray(step.scale_), np.asarray(step.min_)
    scale = np.ones(count) if step.scale_ is None else np.asarray(step.scale_)
    center = {"StandardScaler": "mean_", "RobustScaler": "center_"}.get(name, "")
    middle = getattr(step, center, None)
    middle = np.zeros(count) if middle is None else np.asarray(middle)
    return 1 / scale, -middle / scale
