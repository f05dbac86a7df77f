"""Writes docs/models.md and, of what tracing counts, inceptionnext_jax/models/counted.py.

python -m benchmarks.zoo
"""

import re
from collections import defaultdict
from pathlib import Path

import inceptionnext_jax as inx
from configs import rows
from inceptionnext_jax.cli.models import percent
from inceptionnext_jax.models import ModelInfo, counted
from inceptionnext_jax.models.counted import COUNTED, Counted
from inceptionnext_jax.models.macs import count_activations, count_macs

DOCUMENT = Path(__file__).parent.parent / "docs" / "models.md"
TITLES = {
    "inceptionnext": "InceptionNeXt",
    "metanext": "MetaNeXt with other token mixers",
    "convnext": "ConvNeXt",
    "vanillanet": "VanillaNet",
    "roadmap": "From ResNet-50 to ConvNeXt-T",
    "resnet": "ResNet",
    "regnety": "RegNetY",
    "deit": "DeiT",
    "vit": "ViT",
    "swin": "Swin Transformer",
    "poolformer": "PoolFormer",
}
_INTRODUCTION = """\
# Models

Every name of `create_model`, with 1,000 classes and at its own number of pixels. Written by
`python -m benchmarks.zoo`; `python -m inceptionnext_jax models` prints the same numbers.

MACs are the multiply-accumulates of convolutions and linear layers for one image; in parentheses
stand those of attention's products, which papers include. Activations are the numbers that all of
these put out, as fvcore and timm count them. Accuracies are ImageNet-1K's top-1 as others report
them: none was measured with this code. [reproducing.md](reproducing.md) lists the printed sizes
that differ, and why.
"""
_HEADER = """
| model | parameters | MACs | activations | pixels | top-1 | source | config |
|---|---|---|---|---|---|---|---|
"""


def count(name: str) -> Counted:
    """Traces a model at its own size."""
    model, size = inx.create_model(name), inx.model_info(name).input_size
    if hasattr(model, "scan"):
        model = model.clone(scan=True)  # is traced faster
    products = count_macs(model, size, attention=True) - count_macs(model, size)
    return Counted(count_activations(model, size), products)


def markdown() -> str:
    """Returns the document: a section a family, a line a model."""
    families = defaultdict(list)
    for name in sorted(inx.list_models(), key=_natural):
        families[re.match("[a-z]+", name)[0]].append(name)
    order = [*TITLES, *sorted(families.keys() - TITLES.keys())]
    commands = _commands()
    sections = [
        f"\n## {TITLES.get(family, family)}\n{_HEADER}"
        + "".join(_line(name, commands[name]) for name in families[family])
        for family in order
        if family in families
    ]
    return _INTRODUCTION + "".join(sections)


def _line(name: str, command: str) -> str:
    info, more = inx.model_info(name), COUNTED[name]
    top1 = "" if info.top1 is None else percent(info.top1)
    products = f" (+ {more.products:,})" if more.products else ""
    params, macs = (f"{getattr(info, key):,}{_deployed(info, key)}" for key in ("params", "macs"))
    cells = (f"`{name}`", params, macs + products, f"{more.activations:,}")
    return f"| {' | '.join((*cells, str(info.input_size), top1, info.top1_source, command))} |\n"


def _deployed(info: ModelInfo, key: str) -> str:
    """The same of the deployed form, where that is another network."""
    count = getattr(info, f"deploy_{key}")
    return f" (deployed {count:,})" if count else ""


def _commands() -> dict[str, str]:
    """Which configs train a model, shortest path first; of one file, variants after the first."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for file, variant, name in rows.published():
        found[name][file].append(f":{variant}" if variant else "")
    texts = defaultdict(str)
    for name, files in found.items():
        names = []
        for file in sorted(files, key=lambda file: (len(file), file)):
            first, *others = files[file]
            names += [f"`{file}{first}`", *(f"`{other}`" for other in others)]
        texts[name] = ", ".join(names)
    return texts


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts 5 before 13."""
    return [(int(part or 0), text) for part, text in re.findall(r"(\d*)(\D*)", name)]


def main() -> None:
    COUNTED.update({name: count(name) for name in inx.list_models()})
    path = Path(counted.__file__)
    kept = path.read_text().partition("COUNTED:")[0]
    lines = [
        f'    "{name}": Counted({COUNTED[name].activations:_}, {COUNTED[name].products:_}),\n'
        for name in inx.list_models()
    ]
    path.write_text(f"{kept}COUNTED: dict[str, Counted] = {{\n{''.join(lines)}}}\n")
    DOCUMENT.write_text(markdown())


if __name__ == "__main__":
    main()
