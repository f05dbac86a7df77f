"""`prepare`: one run of the genuine TFDS builder, after which no TensorFlow is needed.

Needs TensorFlow (extra `prepare`), which is imported only here and only when the command runs.
"""

import argparse
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

from inceptionnext_jax.cli.parser import add_command
from inceptionnext_jax.errors import UserError, first_line

FORMATS = ("array_record", "tfrecord")
_EXAMPLES = """\
with a network:
  python -m inceptionnext_jax prepare cifar10 --data-dir out/data

with ImageNet's two archives in ~/tars:
  python -m inceptionnext_jax prepare imagenet2012 --manual-dir ~/tars --data-dir out/data
"""
_IMAGENET_FILES = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")


def add_parser(subparsers: Any) -> None:
    """Adds `prepare` to the command line."""
    parser = add_command(
        subparsers,
        "prepare",
        help="prepare a TFDS data set for reading without TensorFlow",
        description="Runs a TFDS builder. For imagenet2012 put\n"
        f"{' and '.join(_IMAGENET_FILES)} (from image-net.org)\n"
        "into the folder --manual-dir.",
        examples=_EXAMPLES,
    )
    parser.add_argument(
        "name", help="TFDS name, e.g. imagenet2012, cifar10, imagenet_resized/64x64"
    )
    parser.add_argument("--data-dir", help="where to write (default: TFDS_DATA_DIR or TFDS's own)")
    parser.add_argument("--manual-dir", help="folder with archives that you downloaded yourself")
    parser.add_argument(
        "--format", choices=FORMATS, default=FORMATS[0], help="file format (default: %(default)s)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prepares the data set; prints its folder and the sizes of its splits."""
    from inceptionnext_jax.data.tfds_data import data_root

    root = data_root(args.data_dir)
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            "preparing TFDS data needs TensorFlow (reading them later does not); run: "
            "pip install -e '.[prepare]'"
        )
    if args.name.partition(":")[0] == "imagenet2012" and not _is_prepared(root / "imagenet2012"):
        _check_imagenet_files(args.manual_dir, root)
    _check_other_format(Path(_builder(args.name, root, None).data_path), args.format)
    builder = _builder(args.name, root, args.format)
    _prepare(builder, args.manual_dir)
    print(f"prepared {builder.data_path} ({args.format})")
    for name, split in builder.info.splits.items():
        print(f"  {name}: {split.num_examples} examples in {split.num_shards} files")
    return 0


def _is_prepared(folder: Path) -> bool:
    return any(folder.glob("*/dataset_info.json"))


def _check_imagenet_files(manual_dir: str | None, root: Path) -> None:
    """Raises UserError for a missing tar, about which TFDS only warns."""
    folder = Path(manual_dir).expanduser() if manual_dir else root / "downloads" / "manual"
    missing = [name for name in _IMAGENET_FILES if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{' and '.join(missing)} not found in {folder}; download from "
            "https://image-net.org/download-images and put the files there as they are, or name "
            "their folder with --manual-dir"
        )


def _builder(name: str, root: Path, file_format: str | None) -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("NO_GCE_CHECK", "true")  # no probing of cloud metadata servers
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # TensorFlow needs no accelerator here
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, data_dir=str(root), file_format=file_format)
    except tfds.core.registered.DatasetNotFoundError as error:
        raise UserError(f"TFDS does not know data set {name!r}: {first_line(error)}") from error
    except (ValueError, AssertionError) as error:
        why = first_line(error)
        raise UserError(f"TFDS cannot open data set {name!r} in {root}: {why}") from error


def _check_other_format(directory: Path, file_format: str) -> None:
    """Raises UserError if the version's folder holds the other format; it can hold only one."""
    info = directory / "dataset_info.json"
    if not info.is_file():
        return
    try:
        found = json.loads(info.read_text(encoding="utf-8")).get("fileFormat", "tfrecord")
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{info} cannot be read ({error}); remove {directory}") from error
    if found != file_format:
        raise UserError(
            f"{directory} already holds this data set as {found}; use it as it is (both formats "
            f"can be read), or give another --data-dir for {file_format}"
        )


def _prepare(builder: Any, manual_dir: str | None) -> None:
    import tensorflow_datasets as tfds

    config = tfds.download.DownloadConfig(
        manual_dir=str(Path(manual_dir).expanduser()) if manual_dir else None
    )
    try:
        builder.download_and_prepare(download_config=config)
    except (AssertionError, OSError, tfds.download.DownloadError) as error:
        name = builder.info.full_name
        raise UserError(f"TFDS could not prepare {name}: {first_line(error)}") from error
