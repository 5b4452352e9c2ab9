"""A project: a folder with a tinykit.toml, and what can be done with what it names.

Each method is one arrow of the design: model → graph → generated C → firmware → device. The
command line is a thin layer above this class; a program may use it in the same way.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tinykit.config import CONFIG_NAME, SPLITS, Config, PlanSection, load_config
from tinykit.errors import TinykitError, UsageError

if TYPE_CHECKING:
    from tinykit.boards import Board
    from tinykit.build import Firmware, SizeReport
    from tinykit.build.bounds import MemoryPlan
    from tinykit.codegen.manifest import Manifest
    from tinykit.compress.quantize import QuantizationReport
    from tinykit.data import Samples
    from tinykit.frontend.model import ModelFrontend
    from tinykit.host import HostModel
    from tinykit.ir import Array, Graph, Tensor
    from tinykit.ops.target import Target as StepTarget
    from tinykit.schedule import Program
    from tinykit.session import Session
    from tinykit.targets import Target
    from tinykit.training.plan import Plan
    from tinykit.training.search import Cost, Found

Progress = Callable[[int, int], None]  # how many are done, of how many
CALIBRATION_SAMPLES = 32
ANALYSIS_SAMPLES = 128  # at most, for the contributions of layers
VERIFIED_RECORDINGS = 5
HEAD_SAMPLES = 16  # whose features a new head is scaled to


@dataclass(frozen=True)
class Project:
    """`root` is the folder that the configuration's paths are relative to."""

    root: Path
    config: Config

    @classmethod
    def open(cls, root: Path, *, required: bool = True) -> Project:
        """The project in `root`. Without a tinykit.toml: its defaults, unless it is required."""
        path = root / CONFIG_NAME
        if not required and not path.exists():
            return cls(root, Config())
        return cls(root, load_config(path))

    def override(
        self,
        *,
        model: Path | None = None,
        plan: Path | None = None,
        board: str | None = None,
        sram: int | None = None,
        flash: int | None = None,
        target: str | None = None,
        port: str | None = None,
        trace: bool | None = None,
    ) -> Project:
        """The project with what command-line flags gave; None leaves the file's value."""
        if port is not None and target is None:
            target = "serial"
        if target is not None:
            from tinykit.targets import TARGETS

            if target not in TARGETS:
                raise UsageError(f"there is no target `{target}`", f"targets: {', '.join(TARGETS)}")
        config = self.config
        changes: dict[str, dict[str, str | int | bool | None]] = {
            "model": {"path": _absolute(model)},
            "plan": {"path": _absolute(plan)},
            "board": {"name": board, "sram": sram, "flash": flash},
            "target": {"name": target, "port": port},
            "build": {"trace": trace},
        }
        sections = {
            name: getattr(config, name).model_copy(
                update={key: value for key, value in section.items() if value is not None}
            )
            for name, section in changes.items()
        }
        return replace(self, config=config.model_copy(update=sections))

    # --- where things are ---------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The prefix of the generated C."""
        return self.config.project.name or _identifier(self.model_path.stem)

    @property
    def build_dir(self) -> Path:
        return self.root / self.config.build.directory

    @property
    def generated_dir(self) -> Path:
        return self.build_dir / "generated"

    @property
    def firmware_dir(self) -> Path:
        return self.build_dir / "firmware" / self.board().name

    @property
    def elf(self) -> Path:
        """The firmware of the last build for this board; UsageError when there is none."""
        found = self.firmware_dir / "firmware.elf"
        if not found.is_file():
            raise UsageError(
                f"{found}: no firmware has been built for {self.board().name}",
                "run `tinykit build`, or give --firmware FILE.elf",
            )
        return found

    @property
    def model_path(self) -> Path:
        if self.config.model.path is None:
            raise UsageError(
                "no model given", f"name it on the command line or in {CONFIG_NAME}: [model] path"
            )
        return self.root / self.config.model.path

    # --- what it names ------------------------------------------------------------------------

    def imported(self) -> Graph:
        """The model as its file has it."""
        from tinykit.importers import load_model
        from tinykit.passes.ports import with_output

        graph, wanted = load_model(self.model_path), self.config.model.output
        return graph if wanted is None else with_output(graph, wanted)

    def graph(self) -> Graph:
        """The imported model, simplified, with the head and what was learnt that [model] wants."""
        from tinykit.passes import simplify

        if self.config.model.learnt:
            return _taught(self)
        return simplify(self.imported()) if self.config.model.head is None else _headed(self)

    def frontend(self) -> ModelFrontend | None:
        """What makes the model's input of recordings; None without [frontend]."""
        return None if self.config.frontend.kind is None else _heard(self)

    def class_names(self) -> tuple[str, ...]:
        """The names of the classes by number: [model] head's, or those in the data; else ()."""
        head = self.config.model.head
        if head is not None and head.names:
            return head.names
        if not self.config.data.names("calibration"):
            return ()
        source = "train" if self.config.data.names("train") else "calibration"
        return self.recordings(source).class_names()

    def learning_layers(self) -> frozenset[str]:
        """The names of the layers that the project's plan trains; none without a plan."""
        from tinykit.training.plan import learning

        plan = self.plan()
        return frozenset() if plan is None else learning(plan.resolve(self.graph()))

    def plan(self) -> Plan | None:
        """The update plan, None for firmware that only infers."""
        from tinykit.training.plan import Plan

        path = self.config.plan.path
        return None if path is None else Plan.load(self.root / path)

    def required_plan(self) -> Plan:
        """The update plan; UsageError when the project has none."""
        plan = self.plan()
        if plan is None:
            raise UsageError(
                "no update plan given",
                "--plan FILE, [plan] path in tinykit.toml, or `tinykit plan --write FILE`",
            )
        return plan

    def board(self) -> Board:
        """The board, with the budgets that the project sets."""
        from tinykit.boards import load_board

        wanted = self.config.board
        name = str(self.root / wanted.name) if wanted.name.endswith(".json") else wanted.name
        board = load_board(name)
        return replace(board, sram=wanted.sram or board.sram, flash=wanted.flash or board.flash)

    def samples(self, split: str, file: Path | None = None) -> Samples:
        """The samples of a split ("train", "test", "calibration"), or of a file instead; of
        recordings (int16) the inputs that the frontend makes of them."""
        return self.featured(self.recordings(split, file))

    def featured(self, samples: Samples) -> Samples:
        """Samples as they are; of recordings, all inputs that the frontend's C makes of each."""
        from tinykit.host.frontend import HostFrontend

        frontend = self.frontend() if samples.recorded else None
        if frontend is None:  # int16 may be what the model's input takes (Samples.quantized)
            return samples
        _check_rate(samples, frontend)
        return samples.heard(HostFrontend(frontend).inputs)

    def recordings(self, split: str, file: Path | None = None) -> Samples:
        """The same as they lie in their files."""
        from tinykit.data import load_file, load_samples

        if file is not None:
            return load_file(file)
        if split not in SPLITS:
            raise UsageError(f"there is no split `{split}`", f"splits: {', '.join(SPLITS)}")
        return load_samples(self.config.data, self.root, split)

    # --- what can be done ---------------------------------------------------------------------

    def quantize(
        self,
        model: Path,
        out: Path,
        file: Path | None = None,
        unpickle: bool = False,
        int16: bool = False,
    ) -> QuantizationReport:
        """Write a full int8 .tflite of a float Keras model, an .onnx of an ONNX one, or a .tinykit
        of an estimator of scikit-learn; what that cost.

        Calibration samples set the ranges (those of `file`, if given); the loss of accuracy is
        measured on the test samples, or on the same ones where [data] names no others.
        unpickle: pickled estimators, too, which run the code that they hold.
        int16: of a Keras model, with int16 activations.
        """
        from tinykit.compress.quantize import quantize
        from tinykit.importers.sklearn import SUFFIXES

        if int16 and model.suffix.lower() in (*SUFFIXES, ".onnx"):
            raise UsageError(
                f"{model}: int16 activations are for Keras models", "leave out --int16"
            )
        samples = _features(self.recordings("calibration", file))
        own = file or not self.config.data.names("test")
        test = samples if own else _features(self.recordings("test"))
        if model.suffix.lower() in SUFFIXES:
            from tinykit.compress.classical import quantize_estimator

            y = test.labels(self.class_names()) if test.classified else None
            return quantize_estimator(model, samples.x, out, test=(test.x, y), unpickle=unpickle)
        pair = None if test.y is None else (test.x, test.labels(self.class_names()))
        if model.suffix.lower() == ".onnx":
            from tinykit.compress.quantize_onnx import quantize_onnx

            return quantize_onnx(model, samples.x, out, test=pair)
        return quantize(model, samples.x, out, test=pair, int16=int16)

    def generate(
        self,
        out: Path | None = None,
        plan: Plan | None = None,
        calibration: int = CALIBRATION_SAMPLES,
        progress: Progress | None = None,
    ) -> Manifest:
        """Write the model's C and its manifest into `out` (the project's own folder by default).

        `plan` is used instead of the project's. At most `calibration` samples set the exponents of
        the gradients. With a budget for SRAM ([board] sram) the fastest schedule that fits is
        chosen, else the smallest that costs few instructions.
        """
        from tinykit.codegen.generate import generate

        graph = self.graph()
        plan = plan or self.plan()
        samples, labels = self._calibration(graph, plan, calibration) if plan else (None, None)
        return generate(
            graph,
            out or self.generated_dir,
            name=self.name,
            plan=plan,
            samples=samples,
            labels=labels,
            budget=self._arena_budget if self.config.board.sram else None,
            input_rows=self.config.model.input_rows,
            class_names=self.class_names(),
            frontend=self.frontend(),
            progress=progress and (lambda _, done, total: progress(done, total)),
        )

    def _arena_budget(self, manifest: Manifest) -> int:
        """Bytes that the board's SRAM leaves for the arena of such code."""
        memory = self.memory(manifest)
        return memory.board.sram - (memory.sram_bytes - manifest.memory.sram["arena"])

    def curve(self) -> list[Program]:
        """Schedules from the fastest to the smallest: of training if there is a plan."""
        from tinykit.codegen.generate import graphs
        from tinykit.schedule import curve

        infer, training = graphs(self.graph(), self.plan())
        return curve(training or infer, input_rows=self.config.model.input_rows)

    def _calibration(
        self, graph: Graph, plan: Plan, count: int
    ) -> tuple[Array | None, list[StepTarget] | None]:
        """Up to `count` of the project's samples, evenly spread; none without data."""
        from tinykit.data import codings
        from tinykit.training.loss import form_of

        if not self.config.data.names("calibration"):
            return None, None
        samples = self.featured(self.recordings("calibration").spread(count)).spread(count)
        quantized = samples.quantized(codings(graph))
        return quantized, samples.targets(form_of(graph, plan.training), self.class_names())

    def preview(self) -> Manifest:
        """What `generate` would make, with its exact memory; no file is kept."""
        with tempfile.TemporaryDirectory() as folder:
            return self.generate(Path(folder))

    def with_default_plan(self, path: Path, progress: Progress | None = None) -> Project:
        """Write the plan that trains the most and fits the board; the project that uses it.

        Raises TinykitError when the file exists, DoesNotFitError when not even the head fits.
        """
        from tinykit.build.bounds import check_fit
        from tinykit.training.ladder import ladder, largest_that_fits, plan_text

        _must_be_new(path)
        board = self.board()

        def check(plan: Plan) -> None:
            with tempfile.TemporaryDirectory() as folder:
                manifest = self.generate(Path(folder), plan, calibration=1)
                check_fit(manifest, board, trace=self.config.build.trace)

        plan = largest_that_fits(ladder(self.graph()), check, progress)
        path.write_text(plan_text(plan), encoding="utf-8")
        return self.override(plan=path)

    def with_searched_plan(
        self,
        path: Path,
        latency: int | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> tuple[Project, Found]:
        """Write the plan with the largest summed contribution that fits the board, and use it.

        latency: instructions of a training step at most, as the cost model estimates them.
        What was analysed and measured is kept in the build folder, so that a search that was
        interrupted, or one with other budgets, goes on from there. Optimizer, loss, replay and
        guard are those of the project's plan. Raises TinykitError when the file exists,
        DoesNotFitError, PlanError.
        """
        from tinykit.training.kept import Kept
        from tinykit.training.plan import head_only
        from tinykit.training.search import Budget, search, searched_text

        _must_be_new(path)
        graph, board = self.graph(), self.board()
        given = self.plan() or head_only()
        samples, targets = self._calibration(graph, given, ANALYSIS_SAMPLES)
        kept = Kept.open(self.build_dir / "search.json", graph, samples, targets, given.training)
        one = self._calibration(graph, given, 1)

        def replaying(plan: Plan) -> Plan:
            return plan.model_copy(update={"replay": given.replay, "guard": given.guard})

        def cost(plan: Plan) -> Cost:
            return self._cost(graph, plan, *one)

        contributions = kept.contributions(progress)
        found = search(
            graph,
            contributions,
            Budget(board.sram, board.flash, latency),
            lambda plan: kept.cost(replaying(plan), board.name, cost),
            optimizer=given.optimizer,
            training=given.training,
            seed=seed,
            progress=progress,
        )
        found = replace(found, plan=replaying(found.plan))
        path.write_text(searched_text(found), encoding="utf-8")
        return self.override(plan=path), found

    def _cost(
        self, graph: Graph, plan: Plan, samples: Array | None, labels: list[StepTarget] | None
    ) -> Cost:
        """What firmware with such a plan takes: exact bytes and bounds, estimated instructions."""
        from tinykit.codegen.generate import compile_model, emit
        from tinykit.codegen.inventory import manifest
        from tinykit.schedule import instructions
        from tinykit.training.search import Cost

        compiled = compile_model(graph, name=self.name, plan=plan, samples=samples, labels=labels)
        compiled = replace(compiled, frontend=self.frontend())
        memory = self.memory(manifest(emit(compiled)))
        train = compiled.train
        assert train is not None
        work = instructions(train.graph) + train.overhead
        return Cost(memory.sram_bytes, memory.flash_bytes, work)

    def with_resampled_plan(self, path: Path, seed: int) -> tuple[Project, list[str]]:
        """Write the project's plan with as many, but random, channels of partly trained layers.

        The project that uses it, and the layers that cannot take others than their first ones.
        Raises TinykitError when the file exists, PlanError.
        """
        from tinykit.training.channel_order import in_fixed_order
        from tinykit.training.ladder import plan_text

        _must_be_new(path)
        plan, graph = self.required_plan().resampled(seed), self.graph()
        fixed = in_fixed_order(graph, plan.resolve(graph))
        path.write_text(plan_text(plan), encoding="utf-8")
        return self.override(plan=path), fixed

    def with_learnt(self, saved: Path) -> Graph:
        """The project's graph with what firmware of its plan has learnt, as constants.

        Raises UsageError where the file is of another model or plan.
        """
        import numpy as np

        from tinykit.codegen.generate import graphs
        from tinykit.codegen.saved import Saved
        from tinykit.training.learnt import with_learnt

        try:
            learnt = Saved.parse(saved.read_bytes(), str(saved))
        except OSError as error:
            raise UsageError(f"{saved}: cannot be read: {error.strerror}") from None
        plan, graph, manifest = self.required_plan(), self.graph(), self.preview()
        if learnt.identity != manifest.identity:
            raise UsageError(
                f"{saved}: was saved by other firmware than this model and plan {plan.name} make",
                "name the plan, board, budgets and data that the firmware was built with",
            )
        if learnt.classes:
            raise UsageError(f"{saved}: the classes of a head that grows stay on the device")
        if any(choice.adapted for choice in plan.resolve(graph).values()):
            raise UsageError(
                f"{saved}: what the adapters of plan {plan.name} have learnt stays in them",
                "[model] learnt is for weights and biases",
            )
        infer, _ = graphs(graph, plan, self._calibration(graph, plan, CALIBRATION_SAMPLES)[0])
        values = {}
        for p in manifest.parameters:
            if p.name in infer.tensors and infer[p.name].dtype == "int16":
                raise UsageError(f"{saved}: the class centres of embeddings stay on the device")
            if p.name in infer.tensors:
                data = learnt.block[p.offset : p.offset + p.bytes]
                values[p.name] = infer[p.name].restored(np.frombuffer(data, p.dtype))
        return with_learnt(infer, values)

    def manifest(self) -> Manifest:
        """The manifest of what was generated last; UsageError when nothing was."""
        from tinykit.codegen.manifest import Manifest

        path = self.generated_dir / "model.json"
        if not path.is_file():
            raise UsageError(f"{path}: nothing has been generated yet", "run `tinykit build` first")
        return Manifest.load(path)

    def memory(self, manifest: Manifest) -> MemoryPlan:
        """What generated code will take of the board: exact bytes, and bounds on the rest."""
        from tinykit.build.bounds import plan_memory

        return plan_memory(manifest, self.board(), trace=self.config.build.trace)

    def memory_on_boards(self, learns: bool = True) -> dict[str, list[MemoryPlan]]:
        """The same for every board: of firmware that infers, and that learns if there is a plan.

        Without `learns` the plan is left aside (it may be another model's).
        """
        from tinykit.boards import list_boards
        from tinykit.build.bounds import plan_memory

        infers = replace(self, config=self.config.model_copy(update={"plan": PlanSection()}))
        versions = {"infers": infers}
        if learns and self.plan():
            versions["infers and learns"] = self
        return {
            does: [
                plan_memory(manifest, board, trace=self.config.build.trace)
                for board in list_boards()
            ]
            for does, manifest in ((does, project.preview()) for does, project in versions.items())
        }

    def build(
        self, generated: Path | None = None, progress: Callable[[str], None] | None = None
    ) -> Firmware:
        """Compile generated code into firmware.elf. Raises BuildError, DoesNotFitError."""
        from tinykit.build import build_firmware

        work = self.firmware_dir
        kept = {kind: work / f"firmware.{kind}" for kind in ("elf", "map")}
        for path in kept.values():
            path.unlink(missing_ok=True)  # whatever goes wrong now, no old firmware is run
        firmware = build_firmware(
            generated or self.generated_dir,
            self.board(),
            work,
            trace=self.config.build.trace,
            progress=progress,
        )
        for kind, path in kept.items():
            shutil.copy2(firmware.elf.with_suffix(f".{kind}"), path)
        return replace(firmware, elf=kept["elf"])

    def size(self, elf: Path) -> SizeReport:
        """Where every byte of an ELF of this project goes. Raises BuildError."""
        from tinykit.build.compilers import find_compiler
        from tinykit.build.size import measure

        manifest, board = self.manifest(), self.board()
        expected = {"sram": manifest.memory.sram, "flash": manifest.memory.flash}
        budgets = (board.sram, board.flash)
        return measure(elf, manifest.symbols, expected, budgets, find_compiler("").id)

    def reference(self) -> HostModel:
        """The generated C as a library of this machine: what a device must equal."""
        from tinykit.host import HostModel

        return HostModel(self.generated_dir)

    def verification_samples(self, file: Path | None = None) -> Samples:
        """The training samples (or those of `file`); seeded noise where the project has none."""
        from tinykit.data import noise
        from tinykit.ops.target import TargetForm

        if file is not None or self.config.data.names("train"):
            return self.samples("train", file)
        manifest = self.manifest()
        form = TargetForm("") if manifest.target is None else manifest.target.form
        if all(port.dtype == "int16" for port in manifest.inputs):
            size = sum(port.bytes for port in manifest.inputs) // 2
            return noise((size,), form, dtype="int16")
        return noise(manifest.input.shape[1:], form)

    def verification_recordings(self, file: Path | None = None) -> list[Array]:
        """What a frontend on the device is to hear: some of the training samples (or of `file`) if
        they are recordings, else seeded noise; none without [frontend]."""
        import numpy as np

        frontend = self.frontend()
        if frontend is None:
            return []
        if file is not None or self.config.data.names("train"):
            samples = self.recordings("train", file)
            if samples.recorded:
                _check_rate(samples, frontend)
                return list(samples.spread(VERIFIED_RECORDINGS).x)
        shape = frontend.span(VERIFIED_RECORDINGS), frontend.axes
        noise = np.random.default_rng(0).normal(0, 3000, shape).clip(-32768, 32767)
        return [noise.astype(np.int16)]

    def start(self, firmware: Path | None = None, count_instructions: bool = False) -> Target:
        """Start firmware where the project says (or find the board at its port)."""
        from tinykit.targets import open_target

        target = self.config.target
        on_board = target.name == "serial" or (target.name is None and target.port is not None)
        return open_target(
            target.name,
            elf=None if on_board else firmware or self.elf,
            board=self.board(),
            port=target.port,
            count_instructions=count_instructions,
        )

    @contextmanager
    def connect(self, firmware: Path | None = None, count: bool = False) -> Iterator[Session]:
        """Firmware running (or the board at a port), and a session with it.

        count: instructions, where the target can
        """
        from tinykit.link import Client
        from tinykit.session import Session

        manifest, baudrate = self.manifest(), self.board().uart.baud
        elf = firmware or (self.firmware_dir / "firmware.elf")
        with (
            self.start(firmware, count and self._counts()) as target,
            Client(
                target.url, manifest, baudrate=baudrate, elf=elf if elf.exists() else None
            ) as client,
        ):
            yield Session(client, manifest, target.instructions)

    def _counts(self) -> bool:
        """Whether instructions can be counted where the project says that firmware runs."""
        from tinykit.targets import default_target

        target = self.config.target
        name = target.name or ("serial" if target.port else default_target(self.board()))
        return name == "unicorn" or (name == "qemu" and shutil.which("gcc") is not None)


@cache
def _headed(project: Project) -> Graph:
    """The project's model with a fresh head; features are taken from its calibration samples."""
    from tinykit.passes import simplify
    from tinykit.passes.head import replace_head

    head, graph = project.config.model.head, simplify(project.imported())
    assert head is not None
    if not project.config.data.names("calibration"):
        raise UsageError(
            "tinykit.toml: [model] head: needs samples to be made for",
            'add `train = "file.npz"` or `loader = "data.py:load"` to [data]',
        )
    samples = project.recordings("calibration")
    if samples.classified:
        names = project.class_names()
        count = len(names) or int(samples.labels().max()) + 1
        if count > max(head.outputs, 2):
            shown = f": {', '.join(names)}" if names else ""
            raise UsageError(
                f"tinykit.toml: [model] head: {head.outputs} classes, but {samples.source} has "
                f"{count}{shown}",
                f"head = {{classes = {count}}}",
            )
    from tinykit.data import codings

    samples = project.featured(samples.spread(HEAD_SAMPLES)).spread(HEAD_SAMPLES)
    x = samples.quantized(codings(graph))
    grows = head.grow_to is not None and project.config.plan.path is not None
    outputs, first = (head.outputs, head.classes) if grows else (head.classes, None)
    return replace_head(graph, outputs, x, first=first, seed=head.seed)


@cache
def _heard(project: Project) -> ModelFrontend:
    """What [frontend] says, for the model's input."""
    from tinykit.frontend.model import audio_for, motion_for
    from tinykit.passes import simplify
    from tinykit.passes.ports import input_places

    section, graph = project.config.frontend, simplify(project.imported())
    tensor = graph[graph.inputs[0]]
    if len(input_places(graph)) > 1:
        raise UsageError(
            f"{project.model_path}: has several inputs; a frontend fills one",
            "leave [frontend] out, and write it by hand: docs/frontends.md",
        )
    if section.kind == "motion":
        return motion_for(section.mean, section.deviation, tensor, section.input_hop)
    scale = section.feature_scale
    if section.preprocessor is not None:
        return _preprocessed(project, tensor)
    if scale is None and section.multiplier is None:
        scale = 1 / section.log_scale
    return audio_for(section.audio(), tensor, section.input_hop, scale)


def _preprocessed(project: Project, tensor: Tensor) -> ModelFrontend:
    """The frontend that [frontend] preprocessor is."""
    from tinykit.frontend.model import audio_for
    from tinykit.importers.preprocessor import read_preprocessor

    section = project.config.frontend
    assert section.preprocessor is not None
    path = project.root / section.preprocessor
    found = read_preprocessor(
        path,
        sample_rate=section.sample_rate,
        hop_ms=section.hop_ms,
        mfcc=section.mfcc,
        mfcc_ortho=section.mfcc_ortho,
    )
    scale = section.feature_scale
    if scale is not None and (found.final or found.feature_scale is not None):
        raise UsageError(
            f"{path}: says itself what a feature is to the model", "leave feature_scale out"
        )
    if found.final and found.zero_point != tensor.quant.zero_point0:
        raise UsageError(
            f"{path}: makes int8 with zero point {found.zero_point}; the model's input "
            f"{tensor.name} has {tensor.quant.zero_point0}",
            "the file belongs to another model",
        )
    if not found.final:
        scale = scale or found.feature_scale or 1 / found.log_scale
    return audio_for(found, tensor, section.input_hop, scale)


def _features(samples: Samples) -> Samples:
    """Samples for a float model; UsageError where they are recordings."""
    if samples.recorded:
        raise UsageError(
            f"{samples.source}: x is int16, recordings; a float model is calibrated with its "
            "float32 features",
            "tinykit.frontend makes them as the device does: docs/frontends.md",
        )
    return samples


def _check_rate(samples: Samples, frontend: ModelFrontend) -> None:
    wanted = getattr(frontend.source, "sample_rate", None)
    if samples.sample_rate not in (None, wanted):
        raise UsageError(
            f"{samples.source}: {samples.sample_rate} Hz; [frontend] is for {wanted} Hz",
            f"sox in.wav -r {wanted} out.wav" if wanted else "recordings of motion are no .wav",
        )


@cache
def _taught(project: Project) -> Graph:
    """The project's model after the last stage of [model] learnt."""
    model = project.config.model
    *earlier, last = model.learnt
    sections = {
        "model": model.model_copy(update={"learnt": tuple(earlier)}),
        "plan": PlanSection(path=last.plan),
    }
    before = replace(project, config=project.config.model_copy(update=sections))
    return before.with_learnt(project.root / last.saved)


def _must_be_new(path: Path) -> None:
    """Raises TinykitError where a file would be overwritten."""
    if path.exists():
        raise TinykitError(f"{path} exists; nothing was changed", "name another file")


def _identifier(text: str) -> str:
    """A C identifier of at most 32 lower-case characters that starts with a letter."""
    plain = re.sub(r"\W+", "_", text.lower(), flags=re.ASCII).strip("_")
    return (plain if plain[:1].isalpha() else f"model_{plain}")[:32].strip("_")


def _absolute(path: Path | None) -> str | None:
    """Paths in flags are relative to where the command runs, not to the project."""
    return None if path is None else str(path.absolute())
