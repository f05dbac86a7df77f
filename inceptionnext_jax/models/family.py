"""Knowledge about the networks of a family that other rooms need."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TypeAlias

from flax import linen as nn

from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.layer_ids import LayerIds, LayerRule, by_block
from inceptionnext_jax.models.names import Table

Path: TypeAlias = tuple[str, ...]

LAYOUTS = ("timm", "official", "mmseg", "mmdet", "mmpretrain", "huggingface")
LINEAR_HEAD: Path = ("params", "head", "fc", "bias")
MLP_HEAD: Path = ("params", "head", "fc2", "bias")


@dataclasses.dataclass(frozen=True)
class Family:
    """Properties that networks of one kind share.

    Attributes:
      namings: Tables of PyTorch names, each of all arrays; the first is timm's where timm has the
        networks. None where nobody has them in PyTorch.
      official: Index in `namings` of the authors' table.
      layouts: Indices of the tables of further layouts in `LAYOUTS`.
      implied: Arrays that files in these names lack, by our path, and the value that they mean.
      classifier: Path of an array whose only axis shows the number of classes, usually a bias.
      per_class: Its elements for each class.
      layer_ids: Layers of the parameters, for layer-wise learning rates.
      layer_rules: Layers of published recipes that group otherwise, by their name in
        `layer_ids.GROUPS`.
      host_scalars: Variables of the collection "host" that the training schedule may set.
      deployed: The deployed form, where that is another network: its names and classifier.
      output_norm: Factory of the norm of each map where the networks are backbones of dense
        systems, given `dtype` and `name`; None where they have none.
      backbones: Tables of names of such backbones, made by `names.backbone_rules`, by layout.
        Without "mmseg", mmsegmentation's names are timm's.
      others: Other networks by an array's name in PyTorch that they have and these lack: files of
        them are refused by what they are.
    """

    namings: tuple[Table, ...] = ()
    official: int = 0
    layouts: Mapping[str, int] = dataclasses.field(default_factory=dict, hash=False)
    implied: Mapping[Path, float] = dataclasses.field(default_factory=dict, hash=False)
    classifier: Path = LINEAR_HEAD
    per_class: int = 1
    layer_ids: LayerIds = by_block
    layer_rules: Mapping[str, LayerRule] = dataclasses.field(default_factory=dict, hash=False)
    host_scalars: tuple[str, ...] = ()
    deployed: "Family | None" = None
    output_norm: Callable[..., nn.Module] | None = None
    backbones: Mapping[str, Table] = dataclasses.field(default_factory=dict, hash=False)
    others: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)

    def naming(self, layout: str) -> Table:
        """Returns the table of a layout; raises UserError for one that the networks lack."""
        indices = {"timm": 0, "official": self.official, **self.layouts}
        if layout not in indices:
            problem = "not one of this network" if layout in LAYOUTS else "unknown"
            raise UserError(f"layout={layout!r} is {problem}, expected one of {', '.join(indices)}")
        return self.namings[indices[layout]]
