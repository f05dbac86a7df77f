"""Layer-wise learning rates: the nearer to the input, the smaller, for fine-tuning."""

from collections.abc import Sequence

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.family import Family
from inceptionnext_jax.models.layer_ids import Layers


def layer_factors(
    family: Family, paths: Sequence[str], decay: float, body: str = "", groups: str = "block"
) -> dict[str, float]:
    """Returns the rate's factor for each path: decay ** (last layer - its layer).

    Args:
      family: Family of the network, or of its backbone.
      paths: Plain paths, such as "stages_0/blocks_1/gamma"; never stacked.
      decay: The factor from a layer to the one below.
      body: Prefix of the backbone's paths, such as "backbone/". Paths outside it are of heads and
        necks, which have the factor 1, as a classifier has.
      groups: The rule that makes layers of paths, one of `layer_ids.GROUPS`.

    Raises:
      UserError: The family has no such rule, it covers no layer of a path in the body, or no path
        is in it.
    """
    inner = {path.removeprefix(body): path for path in paths if path.startswith(body)}
    if not inner:
        raise UserError(
            f"optim.layer_decay has no layer to scale: no parameter lies below {body!r}; paths "
            f"look like {', '.join(paths[:3])}"
        )
    layers = _layers(family, list(inner), groups)
    ids = layers.ids
    uncovered = [path for short, path in inner.items() if short not in ids]
    if uncovered:
        raise UserError(
            f"optim.layer_decay has no rule for {', '.join(uncovered[:5])}; leave it unset, or "
            "give the model's Family other layer_ids"
        )
    last = layers.last
    if groups == "block":
        last += len(inner) < len(paths)  # heads outside are one more layer
    factors = {path: decay ** (last - ids[short]) for short, path in inner.items()}
    return {path: factors.get(path, 1.0) for path in paths}


def _layers(family: Family, paths: Sequence[str], groups: str) -> Layers:
    if groups == "block":
        ids = family.layer_ids(paths)
        return Layers(ids, max(ids.values(), default=0))
    if groups not in family.layer_rules:
        known = ", ".join(["block", *family.layer_rules])
        raise UserError(
            f"optim.layer_groups={groups!r} is not a rule of this model's family, expected one of "
            f"{known}"
        )
    return family.layer_rules[groups](paths)
