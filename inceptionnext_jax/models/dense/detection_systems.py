"""`retinanet_<backbone>`, `mask_rcnn_<backbone>` and `cascade_mask_rcnn_<backbone>`."""

from collections.abc import Mapping
from typing import Any

from flax import linen as nn

from inceptionnext_jax.models.dense.dense_system import as_backbone
from inceptionnext_jax.models.dense.detector import Detector
from inceptionnext_jax.models.dense.mask_rcnn import CascadeMaskRcnn, MaskRcnn
from inceptionnext_jax.models.dense.names import detector_family
from inceptionnext_jax.models.dense.output_norms import norm_factory, shown_norm
from inceptionnext_jax.models.dense.retinanet import RetinaNet
from inceptionnext_jax.models.family import Family, Path
from inceptionnext_jax.models.registry import (
    ModelInfo,
    ShapeOf,
    System,
    is_integer,
    register_system,
    require_option,
)
from inceptionnext_jax.ops.roi_align import check_impl

COCO_CLASSES = 80
COUNTED_AT = (800, 1280)  # height and width that papers count at


class Detection(System):
    """A kind of detector.

    Attributes:
      kind: The class of its networks.
      options: Its options, besides the backbone's, and their defaults.
      classifier: Path of an array whose last axis has `per_class` elements for each class.
      per_class: Elements of a class.
    """

    def __init__(
        self,
        kind: type[Detector],
        options: Mapping[str, Any],
        classifier: Path,
        per_class: int = 1,
    ):
        shared = {
            "num_classes": COCO_CLASSES,
            "channels": 256,
            "proposals": 1000,
            "detections": 100,
            "out_norm": None,
            "bn_group_size": 0,
            "frozen_norm": False,
        }
        self.options = {**shared, **options}
        self.kind, self.classifier, self.per_class = kind, classifier, per_class

    def create(self, backbone: nn.Module, family: Family, options: Mapping[str, Any]) -> nn.Module:
        """Returns the network; raises UserError for a value that is not allowed."""
        for name in self.options.keys() - {"out_norm", "bn_group_size", "frozen_norm"}:
            if name == "roi_align_impl":
                check_impl(options[name])
            else:
                require_option(options, name, is_integer(options[name], 1), "an integer ≥ 1")
        frozen = options["frozen_norm"]
        require_option(options, "frozen_norm", isinstance(frozen, bool), "True or False")
        if "rois" in options:
            require_option(options, "rois", options["rois"] >= 4, "an integer ≥ 4")
        factory = norm_factory(options, family)
        body = as_backbone(backbone)
        return self.kind(body, **{**options, "out_norm": factory}, dtype=body.dtype)

    def describe(self, name: str, backbone: ModelInfo) -> ModelInfo:
        """Returns the facts of the system `name` with this backbone."""
        return ModelInfo(
            name=name,
            task="detection",
            input_size=800,
            counted_at=COUNTED_AT,
            stage_depths=backbone.stage_depths,
            family=detector_family(backbone.family, self.classifier, self.per_class),
            crop_pct=1.0,
            interpolation="bilinear",
            mean=backbone.mean,
            std=backbone.std,
        )

    def shown_options(self, family: Family, shape_of: ShapeOf) -> dict[str, Any]:
        """Returns the values of options that decide on arrays, as far as arrays show them."""
        kernel = shape_of(("params", "neck", "fpn_convs_0", "kernel"))
        if kernel is None:
            return {}
        shown: dict[str, Any] = {"channels": kernel[-1]}
        for head in ("bbox_head", "bbox_head_0"):
            if (linear := shape_of(("params", head, "shared_fcs_0", "kernel"))) is not None:
                shown["fc_channels"] = linear[-1]
        return {**shown, **shown_norm(family, shape_of)}


_OF_REGIONS = {"fc_channels": 1024, "rois": 512, "roi_align_impl": "auto"}

register_system(
    "retinanet", Detection(RetinaNet, {}, ("params", "retina_head", "retina_cls", "bias"), 9)
)
register_system(
    "mask_rcnn",
    Detection(MaskRcnn, _OF_REGIONS, ("params", "mask_head", "conv_logits", "bias")),
)
register_system(
    "cascade_mask_rcnn",
    Detection(CascadeMaskRcnn, _OF_REGIONS, ("params", "mask_head_0", "conv_logits", "bias")),
)
