"""The strides of stages, and the dilation that replaces strides beyond an output stride."""

from typing import NamedTuple

from inceptionnext_jax.errors import UserError


class StageGeometry(NamedTuple):
    """Stride and dilation of a stage.

    Attributes:
      downsample: Whether it begins with a convolution between two widths.
      stride: Stride of that convolution, 1 or 2.
      conv_dilation: Dilation of that convolution where its stride is 1.
      dilation: Dilation of the stage's token mixers.
    """

    downsample: bool
    stride: int
    conv_dilation: int
    dilation: int


def stage_geometry(stages: int, patch_size: int, output_stride: int) -> list[StageGeometry]:
    """Returns each stage's geometry: stride 2 up to `output_stride`, dilation × 2 beyond.

    Raises:
      UserError: `output_stride` is not a power of two, or less than the patches' size.
    """
    if output_stride < patch_size or output_stride.bit_count() != 1:
        raise UserError(
            f"output_stride={output_stride} is not possible with patches of {patch_size} pixels, "
            f"use {patch_size} times a power of two"
        )
    stride, dilation, found = patch_size, 1, [StageGeometry(False, 1, 1, 1)]
    for _ in range(1, stages):
        step = 2 if stride < output_stride else 1
        dilation *= 2 // step
        stride *= step
        found.append(StageGeometry(True, step, 1 if dilation <= 2 else 2, dilation))
    return found
