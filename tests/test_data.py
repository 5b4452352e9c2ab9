"""Samples: from loaders and files, quantized like the model's input, mistakes named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tinykit.config import DataSection
from tinykit.data import Coding, load_file, load_samples
from tinykit.errors import UsageError
from tinykit.ops.target import TargetForm


def _write_loader(folder: Path, body: str) -> DataSection:
    (folder / "data.py").write_text(body)
    return DataSection(loader="data.py:load")


def test_loader_is_called_with_the_split_and_may_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("COUNT = {'train': 3, 'test': 2}\n")
    section = _write_loader(
        tmp_path,
        "import numpy as np\nimport neighbour\n"
        "def load(split):\n"
        "    n = neighbour.COUNT[split]\n"
        "    return np.ones((n, 4)), range(n)\n",
    )
    samples = load_samples(section, tmp_path, "train")
    assert samples.x.shape == (3, 4)
    assert samples.x.dtype == np.float32
    assert list(samples.labels()) == [0, 1, 2]
    assert len(load_samples(section, tmp_path, "test")) == 2


def test_files_of_each_kind_hold_the_same(tmp_path: Path) -> None:
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    y = np.array([0, 1, 2, 1])
    np.savez(tmp_path / "a.npz", x=x, y=y)
    np.save(tmp_path / "a.npy", x)
    np.savetxt(tmp_path / "a.csv", np.column_stack([x, y]), delimiter=",")
    for name in ("a.npz", "a.npy", "a.csv"):
        samples = load_file(tmp_path / name)
        assert np.array_equal(samples.x, x), name
    assert list(load_file(tmp_path / "a.csv").labels()) == [0, 1, 2, 1]
    with pytest.raises(UsageError, match="no labels"):
        load_file(tmp_path / "a.npy").labels()


def test_labels_may_be_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 2)), y=["up", "down", "up", "left"])
    samples = load_file(tmp_path / "a.npz")
    assert samples.class_names() == ("down", "left", "up")
    assert list(samples.labels()) == [2, 0, 2, 1]
    assert list(samples.first(1).labels(("down", "left", "up"))) == [2]
    with pytest.raises(UsageError, match="the model has no class `down`"):
        samples.labels(("left", "up"))


def test_labels_may_be_values(tmp_path: Path) -> None:
    y = np.array([[0.0, 0.5, 1.0], [1.0, 0.0, 0.0]])
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 2)), y=y)
    samples = load_file(tmp_path / "a.npz")
    form = TargetForm("sigmoid_cross_entropy", 3, 3, 1 / 255, -128)
    found = np.array(samples.targets(form))
    assert found.tolist() == [[-128, 0, 127], [127, -128, -128]]
    assert samples.spread(1).targets(form)[0].tolist() == found[0].tolist()  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="values for the outputs, not one class"):
        samples.labels()
    with pytest.raises(UsageError, match=r"takes a class of 0 … 2$"):
        samples.targets(TargetForm("softmax_cross_entropy", 3))
    np.savez(tmp_path / "b.npz", x=np.zeros((2, 2)), y=[[0.25], [1.0]])
    single = load_file(tmp_path / "b.npz").targets(TargetForm("mean_squared_error", 0, 1, 0.25, 3))
    assert np.array(single).tolist() == [[4], [7]]


def test_spread_takes_samples_at_even_distances(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((9, 2), np.float32), y=np.arange(9))
    samples = load_file(tmp_path / "a.npz")
    assert samples.spread(3).labels().tolist() == [0, 4, 8]
    assert len(samples.spread(50)) == 9


def test_calibration_falls_back_to_train(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 3), np.float32), y=[0, 1])
    section = DataSection(train="a.npz")
    assert len(load_samples(section, tmp_path, "calibration")) == 2
    with pytest.raises(UsageError, match="no test samples"):
        load_samples(section, tmp_path, "test")


def test_quantization_rounds_half_away_from_zero_and_saturates(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[0.5, -0.5, 1.5, 1000.0, -1000.0, 0.25]], np.float32))
    quantized = load_file(tmp_path / "a.npy").quantized([Coding((2, 3), "int8", 1.0, 3)])
    assert quantized.shape == (1, 2, 3)
    assert quantized.reshape(-1).tolist() == [4, 2, 5, 127, -128, 3]


def test_int8_is_taken_as_it_is(tmp_path: Path) -> None:
    x = np.array([[-128, 0, 127]], np.int8)
    np.save(tmp_path / "a.npy", x)
    assert np.array_equal(
        load_file(tmp_path / "a.npy").quantized([Coding((3,), "int8", 0.1, 7)]), x
    )


def test_wrong_shape_names_both_shapes(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 5), np.float32))
    with pytest.raises(UsageError, match=r"shape \[5\], the model's input \[2, 3\]"):
        load_file(tmp_path / "a.npy").quantized([Coding((2, 3), "int8", 1.0, 0)])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": [1]}, "no array x"),
        ({"x": np.zeros((2, 3), np.uint8)}, "uint8"),
        ({"x": np.full((2, 3), np.nan, np.float32)}, "NaN"),
        ({"x": np.zeros((2, 3)), "y": [1]}, "2 samples but 1 labels"),
        ({"x": np.zeros((2, 3)), "y": [0, -1]}, "from 0"),
        ({"x": np.zeros((2, 3)), "y": [0.5, 1]}, "from 0"),
        ({"x": np.zeros((0, 3))}, "samples"),
    ],
)
def test_mistakes_in_arrays(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UsageError, match=message):
        load_file(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["none.npz", "bad.npz", "bad.npy", "bad.csv", "bad.txt"])
def test_unreadable_files_are_one_line(tmp_path: Path, name: str) -> None:
    if name.startswith("bad"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 not this")
    with pytest.raises(UsageError) as caught:
        load_file(tmp_path / name)
    assert name in caught.value.message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def other(split): pass", "no function load"),
        ("import nothing_of_this_name", "cannot be imported: ModuleNotFoundError"),
        ("def load(split): return 3", "must return"),
        ("def load(split): raise KeyError('left')", "raised KeyError"),
    ],
)
def test_mistakes_in_loaders(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_samples(_write_loader(tmp_path, body), tmp_path, "train")


def test_missing_loader_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        load_samples(DataSection(loader="gone.py:load"), tmp_path, "train")
