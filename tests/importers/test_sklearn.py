"""scikit-learn's estimators: the same predictions as in float, files, and errors in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
from sklearn import (
    cluster,
    datasets,
    decomposition,
    discriminant_analysis,
    ensemble,
    linear_model,
    mixture,
    naive_bayes,
    neighbors,
    neural_network,
    preprocessing,
    svm,
    tree,
)
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import make_pipeline

from tests.support.generated import infer_generated
from tinykit.codegen import compile_model, write
from tinykit.compress.classical import classes_of, int8_outputs, quantize_estimator
from tinykit.data import Coding, Samples
from tinykit.errors import ModelError, TinykitError, UsageError
from tinykit.host import HostModel
from tinykit.importers import load_model
from tinykit.importers.graph_file import load_graph, save_graph
from tinykit.importers.sklearn import load_sklearn, open_estimator, predictions
from tinykit.ir import Array
from tinykit.ops.evaluate import evaluate
from tinykit.training.plan import Optimizer, Plan, Update

SEED: dict[str, Any] = {"random_state": 0}
Split = tuple[Array, Array, Array, Array]  # x, y to fit; x, y to test


def scaled(*steps: Any) -> Any:
    return make_pipeline(preprocessing.StandardScaler(), *steps)


def split(name: str) -> Split:
    """Every third sample of one of scikit-learn's own data sets is for tests."""
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    x = x.astype(np.float32)
    test = np.arange(len(x)) % 3 == 0
    return x[~test], y[~test], x[test], y[test]


DATA = ("iris", "wine", "breast_cancer", "digits")
CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: scaled(linear_model.LogisticRegression()),
    "svc-one-vs-rest": lambda: scaled(svm.LinearSVC()),
    "ridge": linear_model.RidgeClassifier,
    "discriminant": discriminant_analysis.LinearDiscriminantAnalysis,
    "tree": lambda: tree.DecisionTreeClassifier(**SEED),
    "forest": lambda: ensemble.RandomForestClassifier(20, **SEED),
    "extra-trees": lambda: ensemble.ExtraTreesClassifier(20, **SEED),
    "boosting": lambda: ensemble.GradientBoostingClassifier(n_estimators=8, **SEED),
    "histograms": lambda: ensemble.HistGradientBoostingClassifier(max_iter=4, **SEED),
    "neighbours": lambda: scaled(neighbors.KNeighborsClassifier()),
    "centroids": lambda: scaled(neighbors.NearestCentroid()),
    "pca-neighbours": lambda: scaled(
        decomposition.PCA(0.95, whiten=True),
        preprocessing.RobustScaler(),
        neighbors.KNeighborsClassifier(3),
    ),
    "pca-tree": lambda: make_pipeline(
        decomposition.PCA(1), tree.DecisionTreeClassifier(max_depth=3, **SEED)
    ),
    "svc-linear": lambda: make_pipeline(preprocessing.MinMaxScaler(), svm.SVC(kernel="linear")),
    "svc-rbf": lambda: scaled(svm.SVC()),
    "svc-nu": lambda: scaled(svm.NuSVC(nu=0.1)),
    "gaussian-bayes": naive_bayes.GaussianNB,
    "multinomial-bayes": naive_bayes.MultinomialNB,
    "k-means": lambda: scaled(cluster.KMeans(4, n_init=1, **SEED)),
    "mixture-full": lambda: scaled(mixture.GaussianMixture(3, reg_covar=0.01, **SEED)),
    "mixture-tied": lambda: scaled(
        mixture.GaussianMixture(3, covariance_type="tied", reg_covar=0.01, **SEED)
    ),
    "mixture-diagonal": lambda: scaled(
        mixture.GaussianMixture(3, covariance_type="diag", reg_covar=0.01, **SEED)
    ),
    "mixture-spherical": lambda: mixture.GaussianMixture(3, covariance_type="spherical", **SEED),
    "one-class": lambda: scaled(svm.OneClassSVM(gamma=0.02, nu=0.2)),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_same_predictions_as_in_float(name: str) -> None:
    """97 % of the predictions, and accuracies within 3 points; small sets allow two samples."""
    for data in DATA if name != "svc-nu" else DATA[:2]:
        x, y, test_x, test_y = split(data)
        estimator = CLASSIFIERS[name]().fit(x, y)
        graph = load_sklearn(estimator, x)
        expected = predictions(estimator, test_x)
        found = classes_of(graph, int8_outputs(graph, test_x))
        differ = int((found != expected).sum())
        assert differ <= max(2, 0.03 * len(test_x)), f"{data}: {differ} of {len(test_x)}"
        lost = int((expected == test_y).sum()) - int((found == test_y).sum())
        assert lost <= max(2, 0.03 * len(test_x)), data


def test_thresholds_move_by_half_a_step_at_most() -> None:
    x = np.linspace(-3, 5, 4001, dtype=np.float32)[:, None]
    y = np.digitize(x[:, 0], [-2.2, -0.7, 0.1, 4.0]) % 2
    fitted = tree.DecisionTreeClassifier(**SEED).fit(x, y)
    graph = load_sklearn(fitted, x)
    found = classes_of(graph, int8_outputs(graph, x))
    thresholds = fitted.tree_.threshold[fitted.tree_.children_left >= 0]
    distance = np.abs(x - thresholds).min(axis=1) / graph["input"].quant.scale0
    wrong = found != fitted.predict(x)
    assert wrong.any(), "8 bits cost something"
    assert distance[wrong].max() < 0.51


REGRESSORS: dict[str, Callable[[], Any]] = {
    "linear": lambda: scaled(linear_model.LinearRegression()),
    "ridge": linear_model.Ridge,
    "tree": lambda: tree.DecisionTreeRegressor(max_depth=5, **SEED),
    "forest": lambda: ensemble.RandomForestRegressor(10, max_depth=6, **SEED),
    "boosting": lambda: ensemble.GradientBoostingRegressor(n_estimators=20, **SEED),
    "histograms": lambda: ensemble.HistGradientBoostingRegressor(max_iter=10, **SEED),
    "svr": lambda: scaled(svm.SVR(C=100)),
    "svr-linear": lambda: scaled(svm.SVR(kernel="linear", C=10)),
    "pca": lambda: scaled(decomposition.PCA(3)),
}


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressions_are_close(name: str) -> None:
    """Mean errors below 1 % of the outputs' range."""
    x, y, test_x, _ = split("diabetes")
    estimator = REGRESSORS[name]().fit(x, y)
    graph = load_sklearn(estimator, x)
    expected = predictions(estimator, test_x)
    found = int8_outputs(graph, test_x)
    width = expected.max() - expected.min()
    assert np.abs(found - expected).mean() < 0.01 * width


def test_probabilities_are_those_of_scikit_learn() -> None:
    for data, estimator in (
        ("breast_cancer", scaled(linear_model.LogisticRegression())),
        ("digits", scaled(linear_model.LogisticRegression())),
        ("digits", ensemble.RandomForestClassifier(20, **SEED)),
        ("wine", scaled(neighbors.KNeighborsClassifier())),
    ):
        x, y, test_x, _ = split(data)
        estimator.fit(x, y)
        expected = estimator.predict_proba(test_x)
        found = int8_outputs(load_sklearn(estimator, x), test_x)
        error = np.abs(found - expected[:, -found.shape[1] :])
        assert error.mean() < 0.01, data


def test_named_classes_and_nested_pipelines() -> None:
    x, y, test_x, test_y = split("iris")
    names = np.array(["b setosa", "a versicolor", "c virginica"])
    estimator = make_pipeline(scaled("passthrough"), svm.SVC()).fit(x, names[y])
    graph = load_sklearn(estimator, x)
    found = classes_of(graph, int8_outputs(graph, test_x))
    right = np.array(sorted(names))[found] == names[test_y]
    assert right.mean() > 0.9


def test_generated_c_equals_the_reference(tmp_path: Path) -> None:
    """Projections and votes included; trees and a device are in tests/e2e/test_classical.py."""
    x, y, test_x, _ = split("iris")
    for name in ("pca-neighbours", "svc-rbf"):
        graph = load_sklearn(CLASSIFIERS[name]().fit(x, y), x)
        codes = Samples(test_x, None, "").quantized([Coding.of(graph["input"])])[:20]
        expected = [evaluate(graph, {"input": row})[graph.outputs[0]] for row in codes]
        found = infer_generated(graph, list(codes), tmp_path / name, sanitize=False)
        np.testing.assert_array_equal(np.stack(found).reshape(len(codes), -1),
                                      np.stack(expected).reshape(len(codes), -1))  # fmt: skip


def test_logistic_regression_goes_on_learning(tmp_path: Path) -> None:
    """Two classes changed places for this user: the head learns that from 60 samples."""
    x, y, test_x, test_y = split("wine")
    graph = load_sklearn(scaled(linear_model.LogisticRegression()).fit(x, y), x)
    port = graph["input"]
    codes, tests = (Samples(v, None, "").quantized([Coding.of(port)]) for v in (x, test_x))
    mine, wanted = np.array([1, 0, 2])[y], np.array([1, 0, 2])[test_y]
    plan = Plan(
        optimizer=Optimizer(learning_rate=0.1),
        update=(Update(layers="all", bias=True, weights=1.0),),
    )
    labels = [int(label) for label in mine]
    made = compile_model(graph, name="wine", plan=plan, samples=codes[:32], labels=labels[:32])
    write(made, tmp_path)
    host = HostModel(tmp_path)

    def accuracy() -> float:
        found = [int(host.infer(sample).argmax()) for sample in tests]
        return float(np.mean(np.array(found) == wanted))

    assert accuracy() < 0.5
    for _ in range(8):
        for sample, label in zip(codes, labels, strict=True):
            host.train(sample, label)
    assert accuracy() > 0.9


# --- files -------------------------------------------------------------------------------------


def saved(estimator: Any, folder: Path, data: str = "iris") -> Path:
    x, y, *_ = split(data)
    path = folder / "model.skops"
    skops.io.dump(estimator.fit(x, y), path)
    return path


@pytest.mark.parametrize("name", ["tree", "histograms", "neighbours", "svc-rbf", "mixture-full"])
def test_files_hold_the_same_model(name: str, tmp_path: Path) -> None:
    x, _, test_x, test_y = split("iris")
    path = saved(CLASSIFIERS[name](), tmp_path)
    out = tmp_path / "deep" / "model.tinykit"
    report = quantize_estimator(path, x, out, test=(test_x, test_y))
    assert report.agreement > 0.95
    assert report.evaluated == len(test_x)
    graph, direct = load_model(out), load_sklearn(open_estimator(path), x)
    np.testing.assert_array_equal(int8_outputs(graph, test_x), int8_outputs(direct, test_x))
    assert graph["input"].quantization == direct["input"].quantization


def test_damaged_graph_files_are_refused(tmp_path: Path) -> None:
    x, y, *_ = split("iris")
    path, damaged = tmp_path / "model.tinykit", tmp_path / "damaged.tinykit"
    save_graph(load_sklearn(scaled(svm.SVC()).fit(x, y), x), path)
    content, random = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        data = bytearray(content)
        for at in random.integers(0, len(data), random.integers(1, 4)):
            data[at] = random.integers(256)
        damaged.write_bytes(data[: random.integers(len(data))] if random.random() < 0.2 else data)
        try:
            load_graph(damaged)
        except ModelError as error:
            refused += "\n" not in error.message and str(damaged) in error.message
    assert refused > 200
    damaged.write_text("no archive")
    with pytest.raises(ModelError, match="not a graph that tinykit wrote"):
        load_model(damaged)


def test_pickles_are_opened_only_on_demand(tmp_path: Path) -> None:
    x, y, *_ = split("iris")
    path = tmp_path / "model.joblib"
    joblib.dump(tree.DecisionTreeClassifier(**SEED).fit(x, y), path)
    with pytest.raises(UsageError, match="runs whatever code it holds") as caught:
        open_estimator(path)
    assert "--unpickle" in caught.value.hint
    with pytest.warns(UserWarning, match="runs whatever code"):
        assert open_estimator(path, unpickle=True).get_depth() > 0


def test_files_of_strange_types_are_refused(tmp_path: Path) -> None:
    path = saved(ensemble.IsolationForest(n_estimators=2, **SEED), tmp_path)
    with pytest.raises(ModelError, match="IsolationForest is not supported"):
        quantize_estimator(path, split("iris")[0], tmp_path / "x", test=(split("iris")[0], None))
    skops.io.dump({"run": Path("x")}, path)
    with pytest.raises(ModelError, match="which is not scikit-learn's"):
        open_estimator(path)
    path.write_bytes(b"PK damaged")
    with pytest.raises(ModelError, match="cannot open it"):
        open_estimator(path)
    with pytest.raises(ModelError, match="no such file"):
        open_estimator(tmp_path / "absent.skops")
    with pytest.raises(ModelError, match="must be quantized with samples"):
        load_model(path)


# --- what is not supported -----------------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "estimator": (lambda: neural_network.MLPClassifier(max_iter=1), "MLPClassifier is not supp"),
    "wrapper": (TransformedTargetRegressor, "TransformedTargetRegressor is not supported"),
    "kernel": (lambda: svm.SVC(kernel="poly"), "SVC: kernel = 'poly' is not supported"),
    "ties": (lambda: svm.SVC(break_ties=True), "SVC: break_ties = True"),
    "weights": (
        lambda: neighbors.KNeighborsClassifier(weights="distance"),
        "KNeighborsClassifier: weights = 'distance' is not supported",
    ),
    "metric": (
        lambda: neighbors.KNeighborsClassifier(metric="manhattan"),
        "KNeighborsClassifier: metric = 'manhattan' is not supported",
    ),
    "transformer": (
        lambda: make_pipeline(preprocessing.PolynomialFeatures(), linear_model.Ridge()),
        "PolynomialFeatures is not supported before another step of a pipeline",
    ),
    "clip": (
        lambda: make_pipeline(preprocessing.MinMaxScaler(clip=True), linear_model.Ridge()),
        "MinMaxScaler: clip = True is not supported",
    ),
    "last": (
        lambda: make_pipeline(preprocessing.StandardScaler()),
        "StandardScaler is not supported as the last step",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_what_is_not_supported_is_named(case: str) -> None:
    x, y, *_ = split("iris")
    make, message = REFUSED[case]
    with pytest.raises(ModelError) as caught:
        load_sklearn(make().fit(x, y), x)
    assert caught.value.message.startswith(message), caught.value.message
    assert "supported: " in caught.value.hint


def test_data_that_do_not_fit_are_named() -> None:
    x, y, *_ = split("iris")
    fitted = tree.DecisionTreeClassifier(**SEED).fit(x, y)
    for estimator, samples, message in (
        (fitted, x[:, :3], "samples have 3 features, DecisionTreeClassifier was fitted to 4"),
        (fitted, x.astype(np.int8), "samples are int8"),
        (fitted, x * np.nan, "samples are float32"),
        (tree.DecisionTreeClassifier(), x, "DecisionTreeClassifier is not fitted"),
        (tree.DecisionTreeClassifier().fit(x, y + 5), x, "DecisionTreeClassifier: classes_ = [5,"),
        (tree.DecisionTreeClassifier().fit(x, np.stack([y, y], 1)), x,
         "DecisionTreeClassifier: outputs = 2"),
        (svm.SVC(kernel="rbf").fit(x + 1e9, y), x.astype(np.float64) + 1e9, "feature 0 varies by"),
    ):  # fmt: skip
        with pytest.raises(TinykitError) as caught:
            load_sklearn(estimator, samples)
        assert caught.value.message.startswith(message), caught.value.message
