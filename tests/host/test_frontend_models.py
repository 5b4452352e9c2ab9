"""Models with a frontend: raw samples through the generated C give what the features of the NumPy
reference give, put in whole."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from tests.frontend.test_audio_frontend import recording
from tests.support.networks import Network
from tinykit.codegen import generate
from tinykit.config import parse_config
from tinykit.data import codings
from tinykit.errors import UsageError
from tinykit.frontend import AudioFrontend
from tinykit.frontend.model import ModelFrontend, audio_for, motion_for
from tinykit.host import HostModel
from tinykit.host.frontend import HostFrontend
from tinykit.ir import Array, Graph
from tinykit.project import Project
from tinykit.training.plan import Plan, Update

MFCC = AudioFrontend(mfcc=10, pcan=False, min_signal=1)
NATS = 1 / 64


def sound_model() -> Graph:
    net = Network((1, 12, 10, 1))
    return net.graph(net.dense(net.mean(net.conv("x", 5)), 3))


def motion_model() -> Graph:
    net = Network((1, 16, 1, 3), seed=2)
    return net.graph(net.dense(net.mean(net.conv("x", 5, (3, 1))), 3))


def frontend_of(kind: str, graph: Graph, hop: int | None) -> ModelFrontend:
    tensor = graph[graph.inputs[0]]
    if kind == "sound":
        return audio_for(MFCC, tensor, hop, NATS / 20)
    return motion_for((12.0, -300.4, 4096.0), (250.0, 410.5, 900.0), tensor, hop)


def raw(kind: str) -> Array:
    if kind == "sound":
        return recording("noise")
    random = np.random.default_rng(5)
    x = random.normal(0, 1, (150, 3)) * (250, 400, 900) + (12, -300, 4096)
    x[100:] = random.choice([-32768, 32767], (50, 3))
    return x.astype(np.int16)


def pushed(host: HostModel, x: Array, step: int) -> list[Array]:
    """What is completed, flat, of samples that come in steps; inference spoils the arena."""
    made = []
    for start in range(0, len(x), step):
        rest = x[start : start + step]
        while len(rest):
            taken, done = host.push(rest)
            assert 0 < taken <= len(rest)
            rest = rest[taken:]
            if done is not None:
                made.append(done.reshape(-1))
                if not host.manifest.input_rows:
                    host.infer(done)
    return made


@pytest.mark.parametrize("kind", ["sound", "motion"])
def test_pushed_samples_make_the_references_inputs(kind: str, tmp_path: Path) -> None:
    """However they are cut, overlapping or not; and again from the beginning."""
    graph = sound_model() if kind == "sound" else motion_model()
    for hop in (4, None):
        frontend = frontend_of(kind, graph, hop)
        manifest = generate(graph, tmp_path, name="heard", frontend=frontend)
        assert manifest.frontend is not None
        assert manifest.frontend.hop == hop or hop is None
        host, x = (
            HostModel(tmp_path, flags=["-Wall", "-Wextra", "-Wconversion", "-Werror"]),
            raw(kind),
        )
        wanted = frontend.inputs(x)
        assert wanted.std() > 20
        assert len(wanted) > 6
        np.testing.assert_array_equal(HostFrontend(frontend).inputs(x), wanted)
        for step in (1, 50, 997):
            np.testing.assert_array_equal(pushed(host, x, step), wanted)
            host.push(x[:10])  # the beginning of a recording that is given up
            host.begin()


@pytest.mark.parametrize("kind", ["sound", "motion"])
def test_rows_give_the_outputs_of_whole_features(kind: str, tmp_path: Path) -> None:
    graph = sound_model() if kind == "sound" else motion_model()
    frontend, x = frontend_of(kind, graph, None), raw(kind)
    generate(graph, tmp_path / "whole", name="heard")
    rows = generate(graph, tmp_path / "rows", name="heard", frontend=frontend, input_rows=True)
    whole, host = (HostModel(tmp_path / name) for name in ("whole", "rows"))
    wanted = [whole.infer(features).reshape(-1) for features in frontend.inputs(x)]
    assert len({y.tobytes() for y in wanted}) > 1
    for step in (1, 997):
        np.testing.assert_array_equal(pushed(host, x, step), wanted)
        host.push(x[: frontend.readings - 1])
        host.begin()
    assert rows.memory.sram["frontend"] == (frontend.source.ram if kind == "sound" else 0)


def test_a_training_step_takes_what_was_pushed(tmp_path: Path) -> None:
    graph = sound_model()
    frontend, x = frontend_of("sound", graph, None), raw("sound")
    plan = Plan(update=(Update(layers="head", weights=1.0),))
    generate(graph, tmp_path, name="heard", plan=plan, frontend=frontend)
    pushing, given = HostModel(tmp_path), HostModel(tmp_path)
    rest, (first, *_) = x, frontend.inputs(x)
    done = None
    while done is None:
        taken, done = pushing.push(rest)
        rest = rest[taken:]
    np.testing.assert_array_equal(done.reshape(-1), first)
    assert pushing.train(done, 1) == given.train(first, 1)
    assert pushing.parameters() == given.parameters()


def test_a_plans_cost_counts_the_frontend(tmp_path: Path) -> None:
    """What a search for plans takes for the memory of one is what will be built."""
    example = Path(__file__).parents[2] / "examples" / "gesture_personalization"
    text = f'[model]\npath = "{example / "model.tflite"}"\n'
    heard = f'[frontend]\nkind = "motion"\nmean = {[0.0] * 6}\ndeviation = {[99.0] * 6}\n'
    plan = Plan(update=(Update(layers="head", weights=1.0),))
    costs = []
    for content in (text, text + heard):
        (tmp_path / "tinykit.toml").write_text(content)
        project = Project.open(tmp_path)
        costs.append(project._cost(project.graph(), plan, None, None))
    assert costs[1].sram - costs[0].sram >= 604  # a window of 100 rows, and where it is
    assert costs[1].flash - costs[0].flash >= 6 * (2 + 4 + 1)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    graph = sound_model()
    tensor = graph[graph.inputs[0]]
    with pytest.raises(UsageError, match="120 values: not whole rows of 13"):
        audio_for(AudioFrontend(mfcc=13), tensor, None, NATS)
    with pytest.raises(UsageError, match="input_hop = 13: it must be from 1 to the input's 12"):
        audio_for(MFCC, tensor, 13, NATS)
    with pytest.raises(UsageError, match="feature_scale = 2000"):
        audio_for(MFCC, tensor, None, 2000.0)
    with pytest.raises(UsageError, match="row by row"):
        generate(
            graph, tmp_path, name="heard", frontend=frontend_of("sound", graph, 4), input_rows=True
        )
    frontend = frontend_of("sound", graph, None)
    with pytest.raises(UsageError, match="2239 samples; an input of the model sees 2240"):
        frontend.inputs(np.zeros(2239, np.int16))
    with pytest.raises(UsageError, match=r"float32\[16000\]; the frontend takes int16"):
        frontend.inputs(np.zeros(16000, np.float32))
    with pytest.raises(UsageError, match=r"int16\[3000, 2\]; the frontend takes int16 \[samples\]"):
        frontend.inputs(np.zeros((3000, 2), np.int16))
    assert frontend.inputs(np.zeros((3000, 1), np.int16)).shape == (1, 120)
    generate(graph, tmp_path, name="heard")
    with pytest.raises(UsageError, match="was made without a frontend"):
        HostModel(tmp_path).push(raw("sound"))


@pytest.mark.parametrize("ratio", [1 / 65536, 0.3, 256 / 666, 1.0, 3.7, 65536.0])
def test_the_models_scale_becomes_a_fraction(ratio: float) -> None:
    graph = sound_model()
    tensor = graph[graph.inputs[0]]
    source = audio_for(MFCC, tensor, None, ratio * tensor.quant.scale0).source
    assert isinstance(source, AudioFrontend)
    assert source.multiplier / source.divisor == pytest.approx(ratio, rel=1e-4)
    assert source.zero_point == tensor.quant.zero_point0


MISTAKES = [
    ("channels = 3", "[frontend]: kind is missing"),
    ("kind = 'sonar'", "[frontend] kind: "),
    ("kind = 'audio'\nchanels = 3", "[frontend] has no key `chanels`"),
    ("kind = 'audio'\nmean = [1.0]", "[frontend]: audio has no mean"),
    ("kind = 'motion'\nchannels = 3", "[frontend]: motion has no channels"),
    ("kind = 'motion'", "[frontend]: motion needs mean and deviation"),
    ("kind = 'audio'\nchannels = 0", "[frontend]: channels = 0: it must be from 1 to 128"),
    ("kind = 'audio'\nmultiplier = 3", "[frontend]: multiplier and divisor go together"),
    ("kind = 'audio'\nhop_ms = 'fast'", "[frontend] hop_ms: "),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_mistakes_in_the_file_are_named(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_config(f"[frontend]\n{text}\n")
    assert message in caught.value.message
    assert caught.value.message.startswith("tinykit.toml:")


def test_defaults_are_the_frontends() -> None:
    assert parse_config('[frontend]\nkind = "audio"\n').frontend.audio() == AudioFrontend()


def test_recordings_of_a_project_become_inputs(tmp_path: Path) -> None:
    """int16 in [data], or a .wav; each recording's label is that of all its inputs."""
    from tests.host.test_wake_words import model

    x = np.stack([recording("noise"), recording("chirp")])
    np.savez(tmp_path / "test.npz", x=x, y=np.array(["hiss", "tune"]))
    with wave.open(str(tmp_path / "one.wav"), "wb") as sound:
        sound.setparams((1, 2, 16000, 0, "NONE", ""))
        sound.writeframes(x[0].tobytes())
    text = f'[model]\npath = "{model("okay_nabu")}"\n[data]\ntest = "test.npz"\n'
    (tmp_path / "tinykit.toml").write_text(text)
    plain = Project.open(tmp_path)
    with pytest.raises(UsageError, match="recordings of a sensor") as caught:
        plain.samples("test").quantized(codings(plain.graph()))
    assert "[frontend]" in caught.value.hint
    (tmp_path / "tinykit.toml").write_text(
        text + '[frontend]\nkind = "audio"\nfeature_scale = 0.0390625\n'
    )
    project = Project.open(tmp_path)
    samples = project.samples("test")
    frontend = project.frontend()
    assert frontend is not None
    assert frontend.rows * frontend.features == samples.x.shape[1]
    np.testing.assert_array_equal(samples.x, np.concatenate([frontend.inputs(r) for r in x]))
    assert samples.y is not None
    assert samples.y.tolist() == ["hiss"] * (len(samples) // 2) + ["tune"] * (len(samples) // 2)
    np.testing.assert_array_equal(
        project.samples("test", tmp_path / "one.wav").x, frontend.inputs(x[0])
    )
    (tmp_path / "float.keras").touch()
    with pytest.raises(UsageError, match="calibrated with its float32 features"):
        project.quantize(tmp_path / "float.keras", tmp_path / "out.tflite", tmp_path / "test.npz")
    with wave.open(str(tmp_path / "slow.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(x[0].tobytes())
    with pytest.raises(UsageError, match=r"8000 Hz; \[frontend\] is for 16000 Hz"):
        project.samples("test", tmp_path / "slow.wav")
