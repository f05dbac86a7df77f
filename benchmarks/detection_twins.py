"""Detectors of torchvision and mmdetection, timed beside ours by `benchmarks.detection`."""

import importlib
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.detection import OBJECTS, images, targets


def twins(name: str, size: tuple[int, int], rounds: int) -> dict[str, Any]:
    """Returns the seconds of other libraries' networks of this kind, or why they do not run."""
    makers = {"torchvision": _torchvision, "mmdetection": _mmdetection}
    found: dict[str, Any] = {}
    for library, make in makers.items():
        try:
            found[library] = _torch_seconds(*make(name, size), rounds)
        except (ImportError, RuntimeError, KeyError) as error:
            found[library] = f"not timed: {' '.join(str(error).split())[:120]}"
    return found


def _torch_seconds(infer: Callable[[], Any], train: Callable[[], Any], rounds: int) -> Any:
    from benchmarks.programs import take_turns

    return {k: float(f"{v:.4g}") for k, v in take_turns(
        {"inference": infer, "training": train}, rounds
    ).items()}  # fmt: skip


def _torchvision(name: str, size: tuple[int, int]) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """torchvision's network; its RoIAlign takes 2 samples a cell, and its heads have one layer."""
    import torch

    detection: Any = importlib.import_module("torchvision.models.detection")
    make = {
        "mask_rcnn_resnet50": "maskrcnn_resnet50_fpn",
        "retinanet_resnet50": "retinanet_resnet50_fpn",
    }[name]
    torch.set_num_threads(1)
    model = getattr(detection, make)(
        weights=None, weights_backbone=None, num_classes=81, trainable_backbone_layers=5,
        min_size=min(size), max_size=max(size),
    )  # fmt: skip
    x = torch.tensor(np.asarray(images(size)[0][0])).permute(2, 0, 1)
    objects = targets(size)
    wanted = {
        "boxes": torch.tensor(np.asarray(objects.boxes[0])),
        "labels": torch.tensor(np.asarray(objects.classes[0])).long() + 1,
        "masks": torch.ones((OBJECTS, *size), dtype=torch.uint8),
    }
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)

    def infer() -> Any:
        model.eval()
        with torch.inference_mode():
            return model([x])[0]["boxes"].numpy()

    def train() -> Any:
        model.train()
        loss = sum(model([x], [wanted]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return infer, train


def _mmdetection(name: str, size: tuple[int, int]) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """mmdetection's network by its own config of one schedule."""
    import torch

    registry: Any = importlib.import_module("mmdet.registry")
    mmdet: Any = importlib.import_module("mmdet")
    mmengine: Any = importlib.import_module("mmengine")
    structures: Any = importlib.import_module("mmdet.structures")
    masks: Any = importlib.import_module("mmdet.structures.mask")
    file = {
        "mask_rcnn_resnet50": "mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
        "retinanet_resnet50": "retinanet/retinanet_r50_fpn_1x_coco.py",
    }[name]
    torch.set_num_threads(1)
    root = os.path.join(os.path.dirname(mmdet.__file__), ".mim", "configs")
    config = mmengine.Config.fromfile(os.path.join(root, file)).model
    config.backbone.init_cfg = None
    mmdet.utils.register_all_modules()
    model = registry.MODELS.build(config)
    x = torch.tensor(np.asarray(images(size)[0])).permute(0, 3, 1, 2)
    objects = targets(size)
    sample = structures.DetDataSample(
        metainfo={
            "img_shape": size, "pad_shape": size, "batch_input_shape": size, "ori_shape": size,
            "scale_factor": (1.0, 1.0),
        }
    )  # fmt: skip
    sample.gt_instances = mmengine.structures.InstanceData(
        bboxes=torch.tensor(np.asarray(objects.boxes[0])),
        labels=torch.tensor(np.asarray(objects.classes[0])).long(),
        masks=masks.BitmapMasks(np.ones((OBJECTS, *size), np.uint8), *size),
    )
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)

    def infer() -> Any:
        model.eval()
        with torch.inference_mode():
            return model(x, [sample], mode="predict")[0].pred_instances.bboxes.numpy()

    def train() -> Any:
        model.train()
        losses = model(x, [sample], mode="loss")
        loss = sum(sum(v) if isinstance(v, list) else v for k, v in losses.items() if "loss" in k)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return infer, train
