"""Every name and shape of the checkpoints that OpenMMLab and the authors publish."""

import math

import jax
import numpy as np
import pytest

import inceptionnext_jax as inx
from inceptionnext_jax.convert import from_torch, to_torch
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.macs import count_params
from inceptionnext_jax.pretrained import load_pretrained
from tests.models.dense import published_names as published
from tests.models.oracle import random_variables

DEPTHS = (1, 2, 2, 1)
TINY, BASE, SWIN_BASE = (96, 192, 384, 768), (128, 256, 512, 1024), (128, 256, 512, 1024)
RESNET, POOLFORMER = (256, 512, 1024, 2048), (64, 128, 320, 512)
KINDS = ("upernet", "semantic_fpn", "retinanet", "mask_rcnn", "cascade_mask_rcnn")
CHECKPOINTS = [
    ("upernet_convnext_tiny", "official", published.convnext, TINY),
    ("upernet_convnext_base", "mmseg", published.convnext, BASE),
    ("upernet_convnext_tiny", "mmpretrain", published.mmpretrain_convnext, TINY),
    ("upernet_swin_tiny", "official", published.swin, TINY),
    ("upernet_swin_base", "mmseg", published.mmseg_swin, SWIN_BASE),
    ("upernet_resnet50", "mmseg", published.resnet, RESNET),
    ("semantic_fpn_resnet50", "mmseg", published.resnet, RESNET),
    ("semantic_fpn_resnext101_32x4d", "mmseg", published.resnext_32x4d, RESNET),
    ("semantic_fpn_resnext101_64x4d", "mmseg", published.resnext_64x4d, RESNET),
    ("semantic_fpn_poolformer_s12", "mmseg", published.poolformer, POOLFORMER),
    ("semantic_fpn_poolformer_s12", "official", published.poolformer, POOLFORMER),
    ("mask_rcnn_convnext_tiny", "official", published.convnext, TINY),
    ("cascade_mask_rcnn_convnext_base", "mmdet", published.convnext, BASE),
    ("mask_rcnn_convnext_tiny", "mmpretrain", published.mmpretrain_convnext, TINY),
    ("mask_rcnn_swin_tiny", "official", published.swin, TINY),
    ("cascade_mask_rcnn_swin_base", "mmdet", published.mmseg_swin, SWIN_BASE),
    ("cascade_mask_rcnn_resnet50", "mmdet", published.resnet, RESNET),
    ("retinanet_poolformer_s12", "mmdet", published.poolformer, POOLFORMER),
]
IGNORED = ("relative_position_index", "num_batches_tracked")


def shapes_of(name, backbone, dims, depths, channels, classes):
    heads = getattr(published, next(kind for kind in KINDS if name.startswith(kind)))
    return {**backbone(dims, depths), **heads(dims, channels, classes)}


def without(names, *ends):
    return {name: shape for name, shape in names.items() if not name.endswith(ends)}


@pytest.mark.parametrize(("name", "layout", "backbone", "dims"), CHECKPOINTS)
def test_written_names_and_shapes_are_those_of_the_checkpoint(name, layout, backbone, dims):
    options = {"channels": 8, "stage_depths": DEPTHS}
    variables = random_variables(inx.create_model(name, num_classes=5, **options))
    written = {k: v.shape for k, v in to_torch(name, variables, layout, **options).items()}
    assert written == without(shapes_of(name, backbone, dims, DEPTHS, 8, 5), IGNORED[0])


@pytest.mark.parametrize("kind", ["retinanet", "mask_rcnn"])
def test_vanillanets_detectors_have_the_names_of_its_repository(timm, kind):
    """Those of its classifier in the backbone, without the classifier's own layers."""
    from tests.models import torch_vanillanet

    pools = [2 if stride == 2 else None for stride in (1, 2, 2, 1, 1, 1, 1, 1, 1, 2, 1)]
    theirs = torch_vanillanet.make([8] * 12, pools, n=4).state_dict()
    options = {"width": 0.0625, "act_num": 4, "channels": 8}
    name = f"{kind}_vanillanet_13"
    variables = random_variables(inx.create_model(name, num_classes=5, **options))
    variables["host"] = jax.tree.map(np.ones_like, variables["host"])
    written = to_torch(name, variables, "mmdet", **options)
    backbone = {key for key in written if key.startswith("backbone.")}
    assert backbone == {f"backbone.{key}" for key in theirs if not key.startswith("cls")}


@pytest.mark.parametrize(("name", "layout", "backbone", "dims"), CHECKPOINTS)
def test_a_checkpoint_is_read_as_a_whole(name, layout, backbone, dims):
    """The file has the wrapping of a training run, and arrays that carry nothing."""
    shapes = shapes_of(name, backbone, dims, DEPTHS, 8, 5)
    arrays = {
        key: np.zeros(shape, np.int64 if key.endswith(IGNORED) else np.float32)
        for key, shape in shapes.items()
    }
    arrays["backbone.mask_token"] = np.ones((1, 1, dims[0]), np.float32)  # of pre-training
    marked = next(key for key in arrays if key.endswith("bottleneck.conv.weight") or "neck" in key)
    arrays[marked] = arrays[marked] + 1
    variables = from_torch(name, arrays, stage_depths=DEPTHS)
    again = to_torch(name, variables, layout, stage_depths=DEPTHS)
    assert np.all(again[marked] == 1)
    assert sum(array.sum() for array in again.values()) == arrays[marked].size


@pytest.mark.parametrize(
    ("name", "backbone", "dims", "depths", "channels"),
    [
        ("upernet_convnext_tiny", published.convnext, TINY, (3, 3, 9, 3), 512),
        ("upernet_convnext_base", published.mmpretrain_convnext, BASE, (3, 3, 27, 3), 512),
        ("upernet_swin_tiny", published.mmseg_swin, TINY, (2, 2, 6, 2), 512),
        ("upernet_swin_base", published.swin, SWIN_BASE, (2, 2, 18, 2), 512),
        ("upernet_resnet50", published.resnet, RESNET, (3, 4, 6, 3), 512),
        ("semantic_fpn_poolformer_s12", published.poolformer, POOLFORMER, (2, 2, 6, 2), 128),
        ("mask_rcnn_convnext_tiny", published.convnext, TINY, (3, 3, 9, 3), 256),
        ("cascade_mask_rcnn_convnext_base", published.convnext, BASE, (3, 3, 27, 3), 256),
        ("cascade_mask_rcnn_swin_tiny", published.swin, TINY, (2, 2, 6, 2), 256),
        ("retinanet_resnet50", published.resnet, RESNET, (3, 4, 6, 3), 256),
    ],
)
def test_the_stated_checkpoints_have_the_papers_sizes(name, backbone, dims, depths, channels):
    classes = 150 if inx.model_info(name).task == "segmentation" else 80
    shapes = shapes_of(name, backbone, dims, depths, channels, classes)
    shapes = without(shapes, *IGNORED, "running_mean", "running_var")
    model = inx.create_model(name)
    assert sum(map(math.prod, shapes.values())) == count_params(model)


def test_a_training_runs_file_is_read_by_the_systems_name(timm, tmp_path):
    import torch

    shapes = shapes_of("upernet_convnext_tiny", published.convnext, TINY, DEPTHS, 8, 5)
    arrays = {key: torch.full(shape, 0.5) for key, shape in shapes.items()}
    meta = {"CLASSES": ("wall", "sky"), "PALETTE": [[1, 2, 3], [4, 5, 6]], "iter": 160000}
    optimizer = {
        "state": {0: {"step": 1, "exp_avg": torch.zeros(3)}},
        "param_groups": [{"lr": 1.0}],
    }
    path = tmp_path / "iter_160000.pth"
    torch.save({"meta": meta, "state_dict": arrays, "optimizer": optimizer}, path)
    loaded = load_pretrained(path, "upernet_convnext_tiny", stage_depths=DEPTHS)
    assert loaded.options == {"stage_depths": DEPTHS, "channels": 8}
    assert np.all(loaded.variables["params"]["backbone"]["stages_1"]["blocks_1"]["gamma"] == 0.5)


@pytest.mark.parametrize("name", ["upernet_resnet50", "semantic_fpn_resnet50"])
def test_a_resnet_with_a_deep_stem_is_refused_by_what_it_is(name):
    shapes = shapes_of(name, published.resnet_v1c, RESNET, DEPTHS, 8, 5)
    arrays = {key: np.zeros(shape, np.float32) for key, shape in shapes.items()}
    with pytest.raises(UserError, match=r"ResNetV1c.*three convolutions") as error:
        from_torch(name, arrays, stage_depths=DEPTHS)
    assert len(str(error.value)) < 300
    arrays = {key.removeprefix("backbone."): array for key, array in arrays.items()}
    with pytest.raises(UserError, match="ResNetV1c"):
        from_torch("resnet50", arrays, stage_depths=DEPTHS)
