"""A project: what the file says, what flags override, and what is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tinykit.codegen.manifest import Port
from tinykit.errors import UsageError
from tinykit.project import Project
from tinykit.session import Session

KNOWN = {"target": None, "class_names": ()}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "tinykit.toml").write_text(
        '[model]\npath = "KWS-1 ref.tflite"\n[board]\nname = "mps2-an500"\nsram = "100KB"\n'
    )
    return Project.open(tmp_path)


def test_names_come_from_the_file_or_from_the_model(project: Project, tmp_path: Path) -> None:
    assert project.name == "kws_1_ref"
    assert project.model_path == tmp_path / "KWS-1 ref.tflite"
    assert project.override(model=tmp_path / "1.tflite").name == "model_1"


def test_budgets_override_the_boards(project: Project) -> None:
    board = project.board()
    assert (board.name, board.sram, board.flash) == ("mps2_an500", 100 * 1024, 1 << 20)
    assert project.override(board="stm32f746", sram=4096).board().sram == 4096
    with pytest.raises(UsageError, match="not possible"):
        project.override(sram=1 << 30).board()


def test_flags_win_over_the_file_and_leave_the_rest(project: Project) -> None:
    changed = project.override(target="qemu", port=None, trace=False)
    assert changed.config.target.name == "qemu"
    assert changed.config.build.trace is False
    assert changed.config.board == project.config.board
    assert project.override(port="/dev/ttyACM0").config.target.name == "serial"
    assert project.override(port="socket://x:1", target="qemu").config.target.name == "qemu"
    with pytest.raises(UsageError, match="no target `qmu`"):
        project.override(target="qmu")


def test_paths_in_flags_are_relative_to_where_the_command_runs(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    assert project.override(model=Path("a.tflite")).model_path == Path("/a.tflite")


def test_what_is_missing_is_named_with_the_way_to_get_it(project: Project) -> None:
    with pytest.raises(UsageError, match="no firmware has been built") as caught:
        _ = project.elf
    assert "tinykit build" in caught.value.hint
    with pytest.raises(UsageError, match="no update plan") as caught:
        project.required_plan()
    assert "tinykit plan --write" in caught.value.hint
    with pytest.raises(UsageError, match=r"model\.json") as caught:
        project.manifest()
    assert "tinykit build" in caught.value.hint
    with pytest.raises(UsageError, match="no split `validation`"):
        project.samples("validation")


def test_a_folder_without_a_file_is_a_project_only_where_that_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        Project.open(tmp_path)
    with pytest.raises(UsageError, match="no model given"):
        _ = Project.open(tmp_path, required=False).model_path


class CountingClient:
    """A client that counts what a session asks of it."""

    def __init__(self) -> None:
        self.labels: list[int] = []
        self.applied = 0

    def train(self, sample: np.ndarray, label: int) -> object:
        self.labels.append(label)
        counts = dict.fromkeys(("saturations", "skipped", "updated", "rollbacks"), 0)
        return type("Step", (), {"prediction": 0, "loss": 1.0, **counts})()

    def apply(self) -> None:
        self.applied += 1


def test_epochs_repeat_the_samples_in_order_and_close_the_accumulation(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 2), np.int8), y=[2, 0, 1])
    project = Project.open(tmp_path, required=False)
    port = Port(name="x", shape=(1, 2), dtype="int8", scale=1.0, zero_point=0, bytes=2)
    client = CountingClient()
    session = Session(client, type("Manifest", (), {"inputs": [port], **KNOWN})())  # type: ignore[arg-type]
    seen: list[tuple[int, int]] = []
    samples = project.samples("train", tmp_path / "a.npz")
    steps = session.train(
        samples, epochs=2, progress=lambda done, total: seen.append((done, total))
    )
    assert client.labels == [2, 0, 1, 2, 0, 1]
    assert [step.label for step in steps] == client.labels
    assert seen[-1] == (6, 6)
    assert client.applied == 1


HEADED = """
[model]
path = "{model}"
head = {head}
[data]
train = "a.npz"
[plan]
path = "plan.toml"
"""


def headed(folder: Path, shared: Path, head: str, y: object, plan: bool = True) -> Project:
    """Keyword spotting with another head, and samples labelled y."""
    model = shared / "models" / "mlperf_tiny" / "kws_ref_model.tflite"
    text = HEADED.format(model=model, head=head)
    (folder / "tinykit.toml").write_text(text if plan else text.split("[plan]")[0])
    (folder / "plan.toml").write_text('[[update]]\nlayers = "head"\nbias = true\nweights = 1.0\n')
    x = np.random.default_rng(0).integers(-128, 128, (6, 490)).astype(np.int8)
    np.savez(folder / "a.npz", x=x, **({} if y is None else {"y": y}))  # type: ignore[arg-type]
    return Project.open(folder)


def test_a_head_takes_its_names_from_the_data(tmp_path: Path, shared: Path) -> None:
    names = ["up", "down", "left", "up", "down", "left"]
    manifest = headed(tmp_path, shared, "{classes = 3}", names).generate()
    assert manifest.class_names == ("down", "left", "up")
    assert manifest.classes == 3
    assert manifest.output.shape == (1, 3)
    assert [p.layer for p in manifest.parameters if p.role == "weights"] == ["head"]
    header = (tmp_path / "build" / "generated" / "kws_ref_model.h").read_text()
    assert '_CLASS_NAMES "down", "left", "up"' in header


def test_a_head_grows_where_it_learns(tmp_path: Path, shared: Path) -> None:
    labels = [0, 1, 2, 0, 1, 2]
    growing = headed(tmp_path, shared, "{classes = 3, grow_to = 7}", labels)
    manifest = growing.generate()
    assert manifest.target is not None
    assert (manifest.classes, manifest.target.first_classes) == (7, 3)
    fixed = headed(tmp_path, shared, "{classes = 3, grow_to = 7}", labels, plan=False)
    assert fixed.generate().output.shape == (1, 3)  # what only infers has nothing to grow by


@pytest.mark.parametrize(
    ("head", "y", "message"),
    [
        ("{classes = 2}", ["a", "b", "c"] * 2, "2 classes, but a.npz has 3: a, b, c"),
        ("{classes = 3}", [0, 1, 2, 3, 4, 5], "3 classes, but a.npz has 6"),
        ("{classes = 1}", [0, 1, 2, 0, 1, 2], "1 classes, but a.npz has 3"),
        ("{classes = 3}", None, "has samples but no labels"),
    ],
)
def test_a_head_that_does_not_fit_the_data(
    tmp_path: Path, shared: Path, head: str, y: object, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        headed(tmp_path, shared, head, y).generate()
    assert message in caught.value.message.replace(f"{tmp_path}/", "")
    assert "\n" not in caught.value.message


def test_a_head_without_data(tmp_path: Path, shared: Path) -> None:
    headed(tmp_path, shared, "{classes = 3}", None)
    text = (tmp_path / "tinykit.toml").read_text().replace('train = "a.npz"', "")
    (tmp_path / "tinykit.toml").write_text(text)
    with pytest.raises(UsageError, match="needs samples to be made for"):
        Project.open(tmp_path).generate()


def test_more_classes_in_the_data_than_in_the_model(tmp_path: Path, shared: Path) -> None:
    headed(tmp_path, shared, "{classes = 3}", ["a", "b", "c"] * 2)
    text = (tmp_path / "tinykit.toml").read_text().replace("head = {classes = 3}\n", "")
    (tmp_path / "tinykit.toml").write_text(text)
    assert Project.open(tmp_path).generate().class_names == ("a", "b", "c")
    names = [f"word{i:02}" for i in range(13)]
    np.savez(tmp_path / "a.npz", x=np.zeros((13, 490), np.int8), y=names)
    with pytest.raises(UsageError, match=r"label 12: the model has classes 0 … 11") as caught:
        Project.open(tmp_path).generate()
    assert "head = {classes = N}" in caught.value.hint
