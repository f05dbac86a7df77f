"""The config files that there are, and their variants."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from configs.default import UnknownVariantError

ROOT = Path(__file__).parent.parent
# Files and folders that the config files are made of, and configs that are no published row.
_PARTS = {
    "__init__",
    "default",
    "recipe",
    "recipe_1x",
    "recipe_finetune",
    "recipe_fpn",
    "rows",
    "tasks",
}
_NOT_PUBLISHED = ("coco_json", "digits", "finetune", "pairs")


def files() -> list[str]:
    """Returns the paths after --config, sorted: configs/atto.py, …"""
    paths = [path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.py")]
    return sorted(str(path) for path in paths if not {*path.parts[1:-1], path.stem} & _PARTS)


def load(file: str) -> ModuleType:
    """Returns the module of such a path."""
    return importlib.import_module(file.removesuffix(".py").replace("/", "."))


def variants(file: str) -> list[str]:
    """Returns the variants of a file, `debug` and `digits` among them."""
    try:
        load(file).get_config("?")
    except UnknownVariantError as error:
        return list(error.known)
    raise ValueError(f"{file} takes any variant; end its get_config with default.finish")


def published() -> Iterator[tuple[str, str, str]]:
    """Yields (file, variant, model name) of each published row; its variant may be ""."""
    for file in files():
        if Path(file).stem in _NOT_PUBLISHED:
            continue
        for variant in ("", *variants(file)):
            if variant not in ("debug", "digits"):
                yield file, variant, load(file).get_config(variant).model.name
