"""timm, the reference of benchmarks and tests."""

from types import ModuleType

_declared = []


def import_timm() -> ModuleType:
    """Imports timm, never in one process with tensorflow: the pair crashes."""
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        # PyPI's torchvision lacks compiled operators for a CPU torch: declare the ones it needs.
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared.append(library)  # keeps the declaration alive
    torch.set_num_threads(2)
    import timm

    return timm
