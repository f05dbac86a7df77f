"""`upernet_<backbone>` and `semantic_fpn_<backbone>`, with the sizes that papers print.

Papers count the multiply-accumulates of one image without the auxiliary head, which is not used in
inference, but its parameters; and one operation more for each output of a convolution with bias.
"""

from collections.abc import Mapping
from typing import Any

from flax import linen as nn

from inceptionnext_jax.models.dense.dense_system import as_backbone
from inceptionnext_jax.models.dense.names import segmenter_family
from inceptionnext_jax.models.dense.output_norms import norm_factory, shown_norm
from inceptionnext_jax.models.dense.segmenter import SemanticFpn, UperNet
from inceptionnext_jax.models.family import Family
from inceptionnext_jax.models.registry import (
    ModelInfo,
    ShapeOf,
    System,
    is_integer,
    is_rate,
    register_system,
    require_option,
)

ADE20K_CLASSES = 150
# Trained on ADE20K by the authors of ConvNeXt, in Hugging Face's names.
_PUBLISHED = {
    f"upernet_convnext_{size}": f"openmmlab/upernet-convnext-{size}"
    for size in ("tiny", "small", "base", "large", "xlarge")
}


class Segmentation(System):
    """A kind of system.

    Attributes:
      kind: The class of its networks.
      options: Its options, besides the backbone's, and their defaults.
      counted_at: Height and width that papers count at.
    """

    def __init__(
        self,
        kind: type[UperNet] | type[SemanticFpn],
        options: Mapping[str, Any],
        counted_at: tuple[int, int],
    ):
        shared = {
            "num_classes": ADE20K_CLASSES,
            "dropout_rate": 0.1,
            "out_norm": None,
            "bn_group_size": 0,
        }
        self.options = {**shared, **options}
        self.kind, self.counted_at = kind, counted_at

    def create(self, backbone: nn.Module, family: Family, options: Mapping[str, Any]) -> nn.Module:
        """Returns the network; raises UserError for a value that is not allowed."""
        for name in ("num_classes", "channels"):
            require_option(options, name, is_integer(options[name], 1), "an integer ≥ 1")
        require_option(
            options, "dropout_rate", is_rate(options["dropout_rate"]), "a number in [0, 1)"
        )
        if "aux_head" in options:
            require_option(
                options, "aux_head", isinstance(options["aux_head"], bool), "True or False"
            )
        factory = norm_factory(options, family)
        body = as_backbone(backbone)
        return self.kind(body, **{**options, "out_norm": factory}, dtype=body.dtype)

    def describe(self, name: str, backbone: ModelInfo) -> ModelInfo:
        """Returns the facts of the system `name` with this backbone."""
        return ModelInfo(
            name=name,
            task="segmentation",
            input_size=512,
            counted_at=self.counted_at,
            stage_depths=backbone.stage_depths,
            family=segmenter_family(backbone.family),
            crop_pct=1.0,
            interpolation="bilinear",
            mean=backbone.mean,
            std=backbone.std,
            hub_id=_PUBLISHED.get(name, ""),
            licence="mit" if name in _PUBLISHED else "",
        )

    def shown_options(self, family: Family, shape_of: ShapeOf) -> dict[str, Any]:
        """Returns the values of options that decide on arrays, as far as arrays show them."""
        kernel = shape_of(("params", "decode_head", "conv_seg", "kernel"))
        if kernel is None:
            return {}
        shown: dict[str, Any] = {"channels": kernel[0]}
        if "aux_head" in self.options:
            auxiliary = shape_of(("params", "auxiliary_head", "conv_seg", "kernel"))
            shown["aux_head"] = auxiliary is not None
        return {**shown, **shown_norm(family, shape_of)}


register_system("upernet", Segmentation(UperNet, {"channels": 512, "aux_head": True}, (512, 2048)))
register_system("semantic_fpn", Segmentation(SemanticFpn, {"channels": 128}, (512, 512)))
