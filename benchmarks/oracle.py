"""timm and transformers, the references of benchmarks and tests."""

from types import ModuleType

_declared = []


def import_timm() -> ModuleType:
    """Imports timm, never in one process with tensorflow: the pair crashes."""
    _prepare_torch()
    import timm

    return timm


def import_transformers() -> ModuleType:
    """Imports transformers, never in one process with tensorflow."""
    _prepare_torch()
    import transformers

    return transformers


def _prepare_torch() -> None:
    import torch

    torch.set_num_threads(2)
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        # PyPI's torchvision lacks compiled operators for a CPU torch: declare the ones it needs.
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared.append(library)  # keeps the declaration alive
