"""A tiny genuine ImageNet: real TFDS builder, real wnids and labels, a few dozen small JPEGs.

`tests/<room>/conftest.py` gets the fixtures with
`from tests.tiny_imagenet import tiny_array_record, tiny_tfrecord  # noqa: F401`.
"""

import fcntl
import importlib.util
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

NUM_TRAIN, NUM_EVAL, NUM_WNIDS = 48, 10, 8
REPOSITORY = Path(__file__).resolve().parent.parent


def wnids() -> list[str]:
    """Returns ImageNet's 1,000 wnids in label order, from the TFDS wheel."""
    return (_tfds_folder() / "labels.txt").read_text().split()


def eval_labels() -> list[int]:
    """Returns the genuine labels of ILSVRC2012_val_00000001 and following."""
    order = wnids()
    text = (_tfds_folder() / "validation_labels.txt").read_text().split()
    return [order.index(wnid) for wnid in text[:NUM_EVAL]]


def _tfds_folder() -> Path:
    package = importlib.util.find_spec("tensorflow_datasets")
    return Path(package.origin).parent / "datasets" / "imagenet2012"


def jpeg(number: int, *, grey: bool = False) -> bytes:
    """Returns a crop of a photograph whose position and size depend on `number`."""
    from sklearn.datasets import load_sample_image

    photo = load_sample_image(("china.jpg", "flower.jpg")[number % 2])
    rng = np.random.default_rng(number)
    height, width = rng.integers(60, 160, 2)
    top = rng.integers(0, photo.shape[0] - height)
    left = rng.integers(0, photo.shape[1] - width)
    picture = Image.fromarray(photo[top : top + height, left : left + width])
    buffer = io.BytesIO()
    picture.convert("L" if grey else "RGB").save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def write_tars(folder: Path) -> None:
    """Writes the two tars in ImageNet's own layout; train has the classes of val."""
    folder.mkdir(parents=True, exist_ok=True)
    order = wnids()
    classes = sorted({order[label] for label in eval_labels()})[:NUM_WNIDS]
    per_class = NUM_TRAIN // len(classes)
    extra = NUM_TRAIN - per_class * len(classes)
    with tarfile.open(folder / "ILSVRC2012_img_train.tar", "w") as outer:
        for c, wnid in enumerate(classes):
            inner_bytes = io.BytesIO()
            with tarfile.open(fileobj=inner_bytes, mode="w") as inner:
                for i in range(per_class + (c < extra)):
                    _add(inner, f"{wnid}_{i}.JPEG", jpeg(100 * c + i, grey=i == 1))
            _add(outer, f"{wnid}.tar", inner_bytes.getvalue())
    with tarfile.open(folder / "ILSVRC2012_img_val.tar", "w") as tar:
        for i in range(NUM_EVAL):
            _add(tar, f"ILSVRC2012_val_{i + 1:08d}.JPEG", jpeg(5000 + i))


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def run_prepare(*arguments: str) -> subprocess.CompletedProcess:
    """Runs `python -m inceptionnext_jax prepare …` in a process of its own (TensorFlow!)."""
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu"}
    env.pop("XLA_FLAGS", None)
    return subprocess.run(
        [sys.executable, "-m", "inceptionnext_jax", "prepare", *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )


def _prepared(tmp_path_factory: pytest.TempPathFactory, file_format: str) -> Path:
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # one preparation for all workers

    def build(target: Path) -> None:
        write_tars(target / "manual")
        done = run_prepare(
            "imagenet2012",
            *("--manual-dir", str(target / "manual")),
            *("--data-dir", str(target / "data")),
            *("--format", file_format),
        )
        assert done.returncode == 0, done.stderr

    return _once(root / f"tiny_imagenet_{file_format}", build) / "data"


def _once(target: Path, build: Callable[[Path], None]) -> Path:
    with open(f"{target}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / "done").exists():
            build(target)
            (target / "done").touch()
    return target


@pytest.fixture(scope="session")
def tiny_array_record(tmp_path_factory):
    """data_dir of the tiny ImageNet as ArrayRecord."""
    return _prepared(tmp_path_factory, "array_record")


@pytest.fixture(scope="session")
def tiny_tfrecord(tmp_path_factory):
    """data_dir of the tiny ImageNet as TFRecord."""
    return _prepared(tmp_path_factory, "tfrecord")
