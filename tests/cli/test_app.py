"""The command line as such: help, exit codes, and that a person never sees a traceback."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes import heed_interrupts
from tinykit.cli.app import run
from tinykit.cli.verbs import VERBS
from tinykit.doctor import Diagnosis
from tinykit.errors import BuildError, TinykitError, UsageError

WORKFLOW = [
    "new", "doctor", "boards", "inspect", "quantize", "plan", "generate", "build", "run",
    "infer", "train", "eval", "verify", "flash", "size",
]  # fmt: skip


def tinykit(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "tinykit", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


def test_verbs_are_listed_in_the_order_of_the_workflow(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(VERBS) == WORKFLOW
    assert run(["--help"]) == 0
    listed = capsys.readouterr().out.split("Commands:")[1].splitlines()
    verbs = [line.split()[0] for line in listed if line.startswith("  ") and line[2] != " "]
    assert verbs[: len(WORKFLOW)] == WORKFLOW


def test_every_verb_has_help_that_fits_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert "..." not in capsys.readouterr().out.split("Commands:")[1]
    for verb in VERBS:
        assert run([verb, "--help"]) == 0
        text = capsys.readouterr().out
        assert "--verbose" in text, verb
        assert "--json" in text, verb


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom tinykit.cli.app import run\nrun(['--help'])\n"
        "heavy = {'tensorflow', 'numpy', 'pydantic', 'rich', 'unicorn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)  # processor time: others may be busy
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["doctr"], "Did you mean 'doctor'?"),
        (["doctor", "--jsn"], "--json"),
        (["train", "--epochs", "0"], "--epochs"),
        (["new"], "no folder given"),
        (["build"], "tinykit.toml: no such file"),
        (["eval", "--target", "qmu"], "tinykit.toml: no such file"),
    ],
)
def test_wrong_usage_is_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    first, *rest = captured.err.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert all(line.startswith("hint:") for line in rest)


def _raise(error: BaseException) -> Diagnosis:
    raise error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TinykitError("it broke", "mend it"), 1),
        (BuildError("it broke", "mend it"), 1),
        (UsageError("it broke", "mend it"), 2),
    ],
)
def test_errors_are_a_line_and_a_hint(
    error: TinykitError, code: int, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("tinykit.doctor.diagnose", lambda: _raise(error))
    assert run(["doctor"]) == code
    assert capsys.readouterr().err == "error: it broke\nhint:  mend it\n"


def test_messages_are_printed_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "x: [board] has [1, 2] and " + "long " * 60
    monkeypatch.setattr("tinykit.doctor.diagnose", lambda: _raise(TinykitError(text)))
    assert run(["doctor"]) == 1
    assert capsys.readouterr().err == f"error: {text}\n"


def test_a_traceback_only_with_v(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tinykit.doctor.diagnose", lambda: _raise(KeyError("left\nright")))
    assert run(["doctor"]) == 1
    quiet = capsys.readouterr().err
    assert quiet.startswith("error: unexpected KeyError: ")
    assert "run with -v" in quiet
    assert "Traceback" not in quiet
    for arguments in (["-v", "doctor"], ["doctor", "-v"]):
        assert run(arguments) == 1
        assert "Traceback" in capsys.readouterr().err


def test_interrupt_is_exit_code_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tinykit.doctor.diagnose", lambda: _raise(KeyboardInterrupt()))
    assert run(["doctor"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_interrupt_of_a_real_process(tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text(
        "import time\ndef load(split):\n    open('started', 'w').close()\n    time.sleep(60)\n"
    )
    (tmp_path / "tinykit.toml").write_text('[data]\nloader = "data.py:load"\n')
    process = subprocess.Popen(
        [sys.executable, "-m", "tinykit", "eval"], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        preexec_fn=heed_interrupts,
    )  # fmt: skip
    for _ in range(200):
        if (tmp_path / "started").exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_no_colour_and_no_progress_in_a_pipe(tmp_path: Path) -> None:
    done = tinykit("doctor", cwd=tmp_path)
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr == ""


def test_configuration_mistakes_reach_the_person(tmp_path: Path) -> None:
    (tmp_path / "tinykit.toml").write_text("[board]\nnmae = 'mps2-an386'\n")
    done = tinykit("build", cwd=tmp_path)
    assert done.returncode == 2
    assert "tinykit.toml:2: [board] has no key `nmae`" in done.stderr
    assert "did you mean `name`?" in done.stderr
    (tmp_path / "tinykit.toml").write_text("")
    assert "there is no target `qmu`" in tinykit("eval", "-t", "qmu", cwd=tmp_path).stderr
    elsewhere = tinykit("build", "-C", str(tmp_path), cwd=Path("/"))
    assert "no model given" in elsewhere.stderr


def test_version(tmp_path: Path) -> None:
    from tinykit import __version__

    assert tinykit("--version", cwd=tmp_path).stdout == f"tinykit {__version__}\n"


def test_doctor_as_json(tmp_path: Path) -> None:
    done = tinykit("doctor", "--json", cwd=tmp_path)
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["ready"] else 1)
    assert {"core", "cross compiler", "emulator"} <= {check["group"] for check in report["checks"]}


def test_doctor_names_the_way_out_when_tools_are_missing(tmp_path: Path) -> None:
    done = tinykit("doctor", cwd=tmp_path, PATH=str(tmp_path), CC="", HOME=str(tmp_path))
    assert "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi" in done.stdout
    assert done.returncode == 1
    assert "Not ready" in done.stdout
