"""Counts all models by tracing: writes docs/models.md and, beside the models, two tables.

python -m benchmarks.zoo
"""

import re
from collections import defaultdict
from pathlib import Path

import inceptionnext_jax as inx
from configs import rows
from inceptionnext_jax.cli.models import percent
from inceptionnext_jax.models.counts import SYSTEMS_FILE, Counts, read_counts, write_counts
from inceptionnext_jax.models.macs import count_activations, count_macs, count_params
from inceptionnext_jax.models.network import with_options
from inceptionnext_jax.models.registry import backbone_name, system_names

DOCUMENT = Path(__file__).parent.parent / "docs" / "models.md"
TITLES = {
    "inceptionnext": "InceptionNeXt",
    "metanext": "MetaNeXt with other token mixers",
    "convnext": "ConvNeXt",
    "vanillanet": "VanillaNet",
    "roadmap": "From ResNet-50 to ConvNeXt-T",
    "resnet": "ResNet",
    "resnext": "ResNeXt",
    "regnety": "RegNetY",
    "deit": "DeiT",
    "vit": "ViT",
    "swin": "Swin Transformer",
    "focalnet": "FocalNet",
    "pvt": "Pyramid Vision Transformer",
    "t2t": "T2T-ViT",
    "tnt": "TNT",
    "efficientnet": "EfficientNet",
    "bit": "BiT",
    "poolformer": "PoolFormer",
}
_INTRODUCTION = """\
# Models

Every name of `create_model`, with 1,000 classes and at its native resolution. Written by
`python -m benchmarks.zoo`; `python -m inceptionnext_jax models` prints the same numbers.

MACs are the multiply-accumulates of convolutions and linear layers for one image; those of
attention's products, which papers include, are in parentheses. Activations are the outputs of all
of these, as fvcore and timm count them. Accuracies are ImageNet-1K's top-1 as others report them:
none was measured with this code. [reproducing.md](reproducing.md) lists the printed sizes that
differ, and why.
"""
_HEADER = """
| model | parameters | MACs | activations | pixels | top-1 | source | config |
|---|---|---|---|---|---|---|---|
"""


def count(name: str) -> Counts:
    """Counts a model at its own size, and its deployed form where that is another network."""
    info = inx.model_info(name)
    size = info.counted_at or info.input_size
    model = with_options(inx.create_model(name), scan=True)  # is traced faster
    params, macs = count_params(model), count_macs(model, size)
    products = count_macs(model, size, attention=True) - macs
    counts = Counts(params, macs, count_activations(model, size), products)
    if inx.model_info(backbone_name(name)).family.deployed is None:
        return counts
    deployed = with_options(model, is_deployed=True)
    return counts._replace(
        deploy_params=count_params(deployed), deploy_macs=count_macs(deployed, size)
    )


def markdown() -> str:
    """Returns the document: a section per family, a line per model."""
    kept = read_counts()
    families = defaultdict(list)
    for name in sorted(inx.list_models(), key=_natural):
        families[_family(name)].append(name)
    order = [*TITLES, *sorted(families.keys() - TITLES.keys())]
    commands = _commands()
    sections = [
        f"\n## {TITLES.get(family, family)}\n{_HEADER}"
        + "".join(_line(name, kept[name], commands[name]) for name in families[family])
        for family in order
        if family in families
    ]
    return _INTRODUCTION + "".join(sections)


def _family(name: str) -> str:
    """Returns resnet for resnet50, t2t for t2t_vit_14."""
    return name.partition("_")[0].rstrip("0123456789")


def _line(name: str, counts: Counts, command: str) -> str:
    info = inx.model_info(name)
    top1 = "" if info.top1 is None else percent(info.top1)
    attention = counts.macs_of_attention
    products = f" (+ {attention:,})" if attention else ""
    params, macs = (f"{getattr(counts, k):,}{_deployed(counts, k)}" for k in ("params", "macs"))
    cells = (f"`{name}`", params, macs + products, f"{counts.activations:,}")
    return f"| {' | '.join((*cells, str(info.input_size), top1, info.top1_source, command))} |\n"


def _deployed(counts: Counts, key: str) -> str:
    """Returns the count of the deployed form, where that is another network."""
    count = getattr(counts, f"deploy_{key}")
    return f" (deployed {count:,})" if count else ""


def _commands() -> dict[str, str]:
    """Returns the configs that train each model, shortest path first."""
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
    write_counts({name: count(name) for name in inx.list_models()})
    write_counts({name: count(name) for name in system_names()}, SYSTEMS_FILE)
    DOCUMENT.write_text(markdown())


if __name__ == "__main__":
    main()
