"""Weights from a workdir, an Orbax step, a weight file, a URL, or the Hugging Face hub."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inceptionnext_jax.checkpoints.reading import find_step, read_step
from inceptionnext_jax.convert import files, hub, url
from inceptionnext_jax.convert.torch_weights import MismatchError, from_torch
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.registry import backbone_name
from inceptionnext_jax.runtime.multihost import on_process_zero
from inceptionnext_jax.types import Variables
from inceptionnext_jax.workdir.storage import StoragePath, in_bucket, storage_path

Say = Callable[[str], None]
SHOWN = 5  # names of one kind that a message lists


class Location(NamedTuple):
    """A weight file on this machine, or a step's folder.

    Attributes:
      path: The file or folder; a step's folder may be in a bucket.
      is_step: Whether it is a step of a run.
      config: The config.json that names the file's model, if there is one.
    """

    path: StoragePath
    is_step: bool = False
    config: StoragePath | None = None


def locate_source(
    source: str | Path, say: Say = lambda text: None, sha256: str | None = None
) -> Location:
    """Finds the weights that `source` names, and fetches them if needed.

    Args:
      source: A workdir, a step's folder, a folder with one of `hub.WEIGHTS` in it, a weight file
        in PyTorch's names (`convert.files`), a URL of one, or a hub id: hf://owner/name, or
        owner/name where there is no such path.
      say: Receives a line about each fetch.
      sha256: Expected SHA-256 of the file at a URL.

    Raises:
      UserError: There are no such weights, or they cannot be fetched.
    """
    if url.is_url(str(source)):
        return Location(url.fetch(str(source), sha256, say))
    if str(source).startswith(hub.PREFIX):
        return _from_hub(str(source), say)
    path = storage_path(source)
    is_file = files.is_weight_file(path)
    if is_file and in_bucket(path):
        raise UserError(f"{source}: only runs are read from a bucket; copy the file here")
    if is_file and not path.is_dir():
        return Location(path)
    step = on_process_zero(lambda: str(find_step(path) or ""))  # it reads the whole step
    if step:
        return Location(storage_path(step), is_step=True)
    inside = [] if in_bucket(path) else [path / name for name in hub.WEIGHTS]
    if weights := next((file for file in inside if file.is_file()), None):
        config = path / hub.CONFIG
        return Location(weights, config=config if config.is_file() else None)
    if not path.exists() and hub.is_hub_id(str(source)):
        return _from_hub(str(source), say)
    raise UserError(
        f"{source} holds no weights: expected a workdir with checkpoints, a step's folder "
        f"(…/checkpoints/<step>), a .safetensors, .npz, .pth or .pt file, a folder with "
        f"{hub.WEIGHTS[0]}, a URL, or a hub id (hf://owner/name)"
    )


def _from_hub(source: str, say: Say) -> Location:
    say(f"{source}: asking the Hugging Face hub")
    fetched = hub.fetch_weights(source)
    say(f"{source}: {fetched}")
    return Location(fetched, config=hub.fetch_config(source))


def load_weights(
    source: str | Path,
    model_name: str,
    stage_depths: Sequence[int] | None = None,
    say: Say = lambda text: None,
) -> tuple[Variables, Variables | None, dict[str, Any]]:
    """Returns (variables, averages or None, meta) as host arrays in the plain tree.

    source, say: As in `locate_source`; `say` also receives the choice between several entries.
    A weight file of a dense system's backbone, as a classifier, gives the classifier's variables.
    meta is {} for a weight file. Raises UserError if there is nothing readable, or a weight file
    does not fit the model.
    """
    found = locate_source(source, say)
    if found.is_step:
        return read_step(found.path)
    weights = _read(found.path, say)
    body = backbone_name(model_name)
    if body != model_name and not any(name.startswith("backbone.") for name in weights.arrays):
        say(f"{source}: taking it for {body}, the backbone of {model_name}")
        model_name = body
    options = {"stage_depths": stage_depths}
    return _converted(found.path, weights.arrays, model_name, options), None, {}


def read_file(
    path: Path,
    model_name: str,
    options: Mapping[str, Any],
    say: Say = lambda text: None,
    key: str | None = None,
) -> Variables:
    """The variables in a weight file; `key` as in `files.read_weights`, options of `create_model`.

    Raises:
      MismatchError: The file does not fit the model.
      UserError: The file cannot be read.
    """
    return _converted(path, _read(path, say, key).arrays, model_name, options)


def _read(path: Path, say: Say, key: str | None = None) -> files.StateDict:
    weights = files.read_weights(path, key)
    if weights.entry and key is None:
        say(f"{path}: taking its entry {weights.entry!r}")
    return weights


def _converted(
    path: Path, arrays: files.Arrays, model_name: str, options: Mapping[str, Any]
) -> Variables:
    try:
        return from_torch(model_name, arrays, **options)
    except MismatchError as error:
        raise MismatchError(
            f"{path} does not fit model.name={model_name}: {summary(error.kinds)}; name the model "
            f"that the file belongs to",
            error.problems,
        ) from error


def summary(kinds: Mapping[str, Sequence[str]]) -> str:
    """ "3 missing (a, b, c); 7 unexpected (d, e, f, g, h, …)"."""
    return "; ".join(
        f"{len(names)} {kind} ({', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''})"
        for kind, names in kinds.items()
        if names
    )
