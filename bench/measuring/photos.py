"""The samples that training is measured with: photos of hands that show digits, each by its name.

Sign-Language-Digits-Dataset (Apache-2.0), ../shared/data/sign_language_digits/sld_64x64_jpg.zip.
A model whose input is no picture gets seeded noise; any model can be given samples of its own.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.measuring.models import shared_models
from tinykit.data import Coding, load_file, noise
from tinykit.data import Samples as Loaded
from tinykit.errors import TinykitError, UsageError
from tinykit.ir import Tensor
from tinykit.ops.target import TargetForm

ARCHIVE = Path("sign_language_digits/sld_64x64_jpg.zip")
CHECKED = (  # two of every digit, by two people
    "0/IMG_1118.JPG", "1/IMG_1119.JPG", "2/IMG_1120.JPG", "3/IMG_1121.JPG", "4/IMG_1122.JPG",
    "5/IMG_1123.JPG", "6/IMG_1124.JPG", "7/IMG_1125.JPG", "8/IMG_1126.JPG", "9/IMG_1127.JPG",
    "0/IMG_4916.JPG", "1/IMG_4927.JPG", "2/IMG_4928.JPG", "3/IMG_4919.JPG", "4/IMG_4910.JPG",
    "5/IMG_4911.JPG", "6/IMG_4912.JPG", "7/IMG_4913.JPG", "8/IMG_4914.JPG", "9/IMG_4925.JPG",
)  # fmt: skip
LEARNT = 200  # samples beside the checked ones, at most
CALIBRATION = 32  # the first of the learnt ones: for the exponents of the gradients
CHOICES = ("photos", "noise")


@dataclass(frozen=True)
class Labelled:
    """int8 [n, …input shape] with n class numbers."""

    x: NDArray[np.int8]
    labels: list[int]

    def step(self, index: int) -> tuple[NDArray[np.int8], int]:
        """Sample and label of step `index`, from 0; after the last comes the first again."""
        at = index % len(self.x)
        return self.x[at], self.labels[at]


@dataclass(frozen=True)
class Samples:
    """`checked` are looked at, one by one, and never learnt; `names` are theirs. `learnt` are
    others, in the order in which they are learnt; `calibration` are the first of those."""

    checked: Labelled
    names: tuple[str, ...]
    learnt: Labelled
    source: str

    @property
    def calibration(self) -> Labelled:
        """For the exponents of the gradients, before anything is learnt."""
        return Labelled(self.learnt.x[:CALIBRATION], self.learnt.labels[:CALIBRATION])


def samples_of(given: str | None, image: Tensor, classes: int) -> Samples:
    """What `--samples` names: "photos", "noise", or a file of x and y; without it, photos for a
    picture of 1 or 3 channels, else noise.

    image: the model's input. Labels count modulo `classes`. Raises UsageError, TinykitError.
    """
    shape = image.shape[1:]
    picture = len(shape) == 3 and shape[2] in (1, 3) and min(shape[:2]) >= 16
    if given is None:
        given = "photos" if picture else "noise"
    if given == "photos":
        if not picture:
            raise UsageError(f"photos do not fit an input of {list(shape)}", "--samples noise")
        return _photos(shape, classes)
    if given == "noise":
        form = TargetForm("softmax_cross_entropy", classes=classes)
        return _divided(noise(shape, form, len(CHECKED) + LEARNT), image, classes)
    return _divided(load_file(Path(given)), image, classes)


def _divided(found: Loaded, image: Tensor, classes: int) -> Samples:
    """The first ones are checked, those behind them learnt."""
    count = len(CHECKED)
    if len(found) <= count:
        raise UsageError(f"{found.source}: {len(found)} samples, more than {count} are needed")
    x = found.quantized([Coding.of(image)._replace(shape=image.shape[1:])])
    labels = [int(label) % classes for label in found.labels()]
    end = count + LEARNT
    return Samples(
        checked=Labelled(x[:count], labels[:count]),
        names=tuple(f"{found.source} {index}" for index in range(count)),
        learnt=Labelled(x[count:end], labels[count:end]),
        source=found.source,
    )


def _photos(shape: tuple[int, ...], classes: int) -> Samples:
    path = shared_models().parent / "data" / ARCHIVE
    if not path.is_file():
        raise UsageError(f"{path}: the photos are not there", "--samples noise, or a file of x, y")
    with zipfile.ZipFile(path) as archive:
        members = sorted(name for name in archive.namelist() if name.endswith(".JPG"))
        rest = [name for name in members if name not in CHECKED]
        digits = [[name for name in rest if name[0] == str(digit)] for digit in range(10)]
        each = LEARNT // 10
        spread = [names[:: len(names) // each][:each] for names in digits]  # over many people
        learnt = [name for turn in zip(*spread, strict=True) for name in turn]
        return Samples(
            checked=_labelled(archive, CHECKED, shape, classes),
            names=CHECKED,
            learnt=_labelled(archive, learnt, shape, classes),
            source=f"photos of {path.name}, scaled to {shape[1]}x{shape[0]}",
        )


def _labelled(
    archive: zipfile.ZipFile, names: tuple[str, ...] | list[str], shape: tuple[int, ...], n: int
) -> Labelled:
    """The photos, int8 = pixel - 128; the label is the digit that the hand shows."""
    try:
        from PIL import Image
    except ImportError:
        raise TinykitError("photos need Pillow", "pip install pillow, or --samples noise") from None
    height, width, channels = shape
    found = []
    for name in names:
        with Image.open(io.BytesIO(archive.read(name))) as photo:
            picture = photo.convert("RGB" if channels == 3 else "L")
            scaled = picture.resize((width, height), Image.Resampling.BILINEAR)
            found.append(np.asarray(scaled, np.int16).reshape(shape) - 128)
    return Labelled(np.stack(found).astype(np.int8), [int(name[0]) % n for name in names])
