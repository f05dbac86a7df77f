"""Knowledge about the networks of a family that other rooms need."""

import dataclasses
from collections.abc import Mapping
from typing import TypeAlias

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.layer_ids import LayerIds, by_block
from inceptionnext_jax.models.names import Table

Path: TypeAlias = tuple[str, ...]

LAYOUTS = ("timm", "official")
LINEAR_HEAD: Path = ("params", "head", "fc", "bias")
MLP_HEAD: Path = ("params", "head", "fc2", "bias")


@dataclasses.dataclass(frozen=True)
class Family:
    """Properties that networks of one kind share.

    Attributes:
      namings: Tables of PyTorch names, each of all arrays; the first is timm's where timm has the
        networks. None where nobody has them in PyTorch.
      official: Index in `namings` of the authors' table.
      implied: Arrays that files in these names lack, by our path, and the value that they mean.
      classifier: Path of the classifier's bias.
      layer_ids: Layers of the parameters, for layer-wise learning rates.
      host_scalars: Variables of the collection "host" that the training schedule may set.
      deployed: The deployed form, where that is another network: its names and classifier.
    """

    namings: tuple[Table, ...] = ()
    official: int = 0
    implied: Mapping[Path, float] = dataclasses.field(default_factory=dict, hash=False)
    classifier: Path = LINEAR_HEAD
    layer_ids: LayerIds = by_block
    host_scalars: tuple[str, ...] = ()
    deployed: "Family | None" = None

    def naming(self, layout: str) -> Table:
        """Returns the table of a layout in `LAYOUTS`; raises UserError for another."""
        if layout not in LAYOUTS:
            raise UserError(f"layout={layout!r} is unknown, expected one of {', '.join(LAYOUTS)}")
        return self.namings[self.official if layout == "official" else 0]
