"""Layer-wise learning rates: the nearer to the input, the smaller, for fine-tuning.

A parameter in layer `id` learns at decay ** (last id - id) of the rate. What a layer is depends on
the family; a rule gives plain paths (`stages_0/blocks_1/…`, never stacked) their ids.
"""

import re
from collections.abc import Callable, Sequence

from inceptionnext_jax.errors import UserError

LayerIds = Callable[[Sequence[str]], dict[str, int]]

_BLOCK = re.compile(r"(?:stages_(\d+)/)?blocks_(\d+)/")
_STAGE = re.compile(r"stages_(\d+)/")


def layer_factors(model_name: str, paths: Sequence[str], decay: float) -> dict[str, float]:
    """The rate's factor for each path; raises UserError as `layer_rule` does."""
    ids = layer_rule(model_name)(paths)
    last = max(ids.values())
    return {path: decay ** (last - ids[path]) for path in paths}


def layer_rule(model_name: str) -> LayerIds:
    """What gives paths of a model their layers.

    Raises:
      UserError: The model's family has no rule.
    """
    for pattern, rule in FAMILIES:
        if re.fullmatch(pattern, model_name):
            return rule
    raise UserError(
        f"optim.layer_decay has no rule for model.name={model_name!r}; leave it unset, or add one "
        "to FAMILIES in train/layer_decay.py"
    )


def by_block(paths: Sequence[str]) -> dict[str, int]:
    """timm's groups for MetaNeXt, ConvNeXt and other ConvNets: the stem, each block, the head.

    A stage's downsampling lies in one layer with its first block.
    """

    def group(path: str) -> tuple[float, ...]:
        if path.startswith("stem/"):
            return (0,)
        if match := _BLOCK.match(path):
            return (1, int(match[1] or 0), int(match[2]))
        if match := _STAGE.match(path):
            return (1, int(match[1]), 0)
        return (2,)

    groups = {path: group(path) for path in paths}
    ids = {group: index for index, group in enumerate(sorted(set(groups.values())))}
    return {path: ids[groups[path]] for path in paths}


def with_last_block(paths: Sequence[str]) -> dict[str, int]:
    """timm's groups for Transformers: as `by_block`, but the last norm lies with the last block."""
    return {path: i - path.startswith("head/norm/") for path, i in by_block(paths).items()}


def convnext(paths: Sequence[str]) -> dict[str, int]:
    """The authors' 12 layers where a net has them, which is with 27 blocks in stage 2; else timm's.

    They are three blocks each, with a downsampling nearby (ConvNeXt, `optim_factory.py`): so the
    published fine-tuning of ConvNeXt-S, -B, -L and -XL is theirs, and shallower nets still decay.
    """
    depth = len({match[2] for path in paths if (match := _BLOCK.match(path)) and match[1] == "2"})
    return {path: _of_twelve(path) for path in paths} if depth == 27 else by_block(paths)


def _of_twelve(path: str) -> int:
    if path.startswith("stem/"):
        return 0
    stage = _STAGE.match(path)
    if stage is None:
        return 13
    block = _BLOCK.match(path)
    if block is None:
        return {1: 2, 2: 3, 3: 12}[int(stage[1])]  # downsampling before that stage
    return {0: 1, 1: 2, 2: 3 + int(block[2]) // 3, 3: 12}[int(stage[1])]


def by_stage(paths: Sequence[str]) -> dict[str, int]:
    """VanillaNet's layers: the stem, each stage, and the classifier (its `optim_factory.py`)."""
    stages = {path: int(match[1]) + 1 for path in paths if (match := _STAGE.match(path))}
    last = max(stages.values(), default=0) + 1
    return {path: stages.get(path, 0 if path.startswith("stem") else last) for path in paths}


# Pattern of model names -> rule; the first match counts.
FAMILIES: tuple[tuple[str, LayerIds], ...] = (
    (r"inceptionnext_\w+", by_block),
    (r"metanext_\w+", by_block),
    (r"convnext_\w+", convnext),
    (r"vanillanet_\w+", by_stage),
    (r"(resnet|regnety_|poolformer_|roadmap_)\w+", by_block),
    (r"(deit|vit|swin)_\w+", with_last_block),
)
