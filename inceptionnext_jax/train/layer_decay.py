"""Layer-wise learning rates: the nearer to the input, the smaller, for fine-tuning."""

from collections.abc import Sequence

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.family import Family


def layer_factors(
    family: Family, paths: Sequence[str], decay: float, body: str = ""
) -> dict[str, float]:
    """Returns the rate's factor for each path: decay ** (last layer - its layer).

    Args:
      family: Family of the network, or of its backbone.
      paths: Plain paths, such as "stages_0/blocks_1/gamma"; never stacked.
      decay: The factor from a layer to the one below.
      body: Prefix of the backbone's paths, such as "backbone/". Paths outside it are of heads and
        necks, which have the factor 1, as a classifier has.

    Raises:
      UserError: The family's rule covers no layer of a path in the body, or no path is in it.
    """
    inner = {path.removeprefix(body): path for path in paths if path.startswith(body)}
    if not inner:
        raise UserError(
            f"optim.layer_decay has no layer to scale: no parameter lies below {body!r}; paths "
            f"look like {', '.join(paths[:3])}"
        )
    ids = family.layer_ids(list(inner))
    uncovered = [path for short, path in inner.items() if short not in ids]
    if uncovered:
        raise UserError(
            f"optim.layer_decay has no rule for {', '.join(uncovered[:5])}; leave it unset, or "
            "give the model's Family other layer_ids"
        )
    last = max(ids.values()) + (len(inner) < len(paths))  # heads outside are one more layer
    factors = {path: decay ** (last - ids[short]) for short, path in inner.items()}
    return {path: factors.get(path, 1.0) for path in paths}
