"""RoIAlign (Mask R-CNN, ICCV 2017) over a feature pyramid, with mmdetection's rules.

Each cell of a region's grid is the mean of samples of the map, as many as it has pixels along each
axis, rounded up. Samples and their bilinear weights form a grid too, so the mean is separable:
output = rows @ map @ columns^T with one matrix per region and axis. The matrices are exact for any
number of samples, and their sizes do not depend on it.
"""

import functools
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from inceptionnext_jax.errors import UserError, suggestion
from inceptionnext_jax.ops import boxes as box_ops

STRIDES = (4, 8, 16, 32)
FINEST_SCALE = 56  # regions with sides below twice as many pixels use the first level
SAMPLES = 6  # at least as many as may touch a pixel: they are more than half a pixel apart
CHUNK = 16  # regions that the dense form handles at once
TILE = 16  # pixels along each side of a tile; 16 and 24 were the fastest of 8 to 48 on a CPU

Maps = tuple[jax.Array, ...]


class Regions(NamedTuple):
    """Boxes in the pixels of the maps that they use; the last axis is (y, x).

    Attributes:
      levels: [B, R] int32, index of the map.
      starts: [B, R, 2], the upper left corner; 0 is the centre of the first pixel.
      sides: [B, R, 2].
    """

    levels: jax.Array
    starts: jax.Array
    sides: jax.Array


Implementation = Callable[[Maps, Regions, int], jax.Array]


@functools.partial(jax.jit, static_argnames=("size", "strides", "impl"))  # named for `models.macs`
def roi_align(
    maps: Sequence[jax.Array],
    boxes: jax.Array,
    size: int,
    strides: tuple[int, ...] = STRIDES,
    impl: str = "auto",
) -> jax.Array:
    """Returns features of boxes, each from the level of the pyramid that fits its area.

    Samples more than a pixel outside of the map are 0, others are moved inside. A box with a side
    that is not positive has no samples, and features 0.

    Args:
      maps: The levels, [B, h, w, C] each, finest first.
      boxes: [B, R, 4] in pixels of the images. There is no gradient for them.
      size: Cells along each side of the grid.
      strides: Pixels of the image per pixel of each map.
      impl: A name in `IMPLEMENTATIONS`, or "auto".

    Returns:
      [B, R, size, size, C] of the maps' dtype; sums are float32 at least.

    Raises:
      UserError: `impl` is unknown.
    """
    check_impl(impl)
    if impl == "auto":
        impl = measured_impl(jax.default_backend())
    dtype = jnp.promote_types(box_ops.wide(boxes.dtype), maps[0].dtype)
    regions = regions_of(lax.stop_gradient(boxes).astype(dtype), strides)
    return IMPLEMENTATIONS[impl](tuple(maps), regions, size)


def check_impl(impl: object) -> None:
    """Raises UserError unless `impl` is a name in `IMPLEMENTATIONS` or "auto"."""
    choices = ["auto", *sorted(IMPLEMENTATIONS)]
    if impl not in choices:
        raise UserError(
            f"model option roi_align_impl={impl!r} is unknown, expected one of "
            f"{', '.join(choices)}{suggestion(str(impl), choices)}"
        )


def levels_of(boxes: jax.Array, number: int) -> jax.Array:
    """Maps boxes [..., 4] to the level [...] int32 that each uses, of `number` levels.

    Level i has sides from 56 · 2^i to 56 · 2^(i+1), as square roots of areas; the first and the
    last level also have what is smaller and larger (FPN, CVPR 2017, equation 1).
    """
    # Comparisons instead of a logarithm: its rounding would move sides of exactly 56 · 2^i.
    ratio = jnp.sqrt(box_ops.areas(boxes)) / FINEST_SCALE + 1e-6
    limits = 2.0 ** jnp.arange(1, number)
    return (ratio[..., None] >= limits).sum(-1, dtype=jnp.int32)


def regions_of(boxes: jax.Array, strides: Sequence[int]) -> Regions:
    """Returns boxes [..., R, 4] in the pixels of their levels."""
    boxes = box_ops.widened(boxes)
    levels = levels_of(boxes, len(strides))
    scales = 1 / jnp.asarray(strides, boxes.dtype)[levels][..., None]
    # Half a pixel is subtracted first, as its rounding may change the number of samples.
    starts, stops = (boxes[..., i : i + 2][..., ::-1] * scales - 0.5 for i in (0, 2))
    return Regions(levels, starts, stops - starts)


def interpolation(
    start: jax.Array, side: jax.Array, size: int, length: jax.Array, pixels: jax.Array
) -> jax.Array:
    """Returns the weights of an axis: of pixels in the mean over the samples of each cell.

    Args:
      start, side: Scalars, where the region begins and how long it is, in pixels.
      size: Number of cells.
      length: Number of pixels of the map.
      pixels: [K] ints, the pixels in question; those outside of the map weigh nothing.

    Returns:
      [size, K] floats.
    """
    cell = side / size
    samples = jnp.ceil(cell)
    spacing = jnp.where(samples > 0, cell / samples, 1)
    corner = (start + jnp.arange(size) * cell)[:, None, None]
    pixels = pixels[:, None]
    # A pixel's neighbourhood (pixel - 1, pixel + 1), and [-1, 0) and (length - 1, length] of the
    # first and last pixel, have at most four samples, or the only one: `first` and those after it.
    first = jnp.floor((pixels - 1 - corner) / spacing - 0.5)
    index = jnp.clip(first, 0, jnp.maximum(samples - 1, 0)) + jnp.arange(SAMPLES)
    place = corner + (index + 0.5) * cell / jnp.maximum(samples, 1)
    counts = (index < samples) & (place >= -1) & (place <= length)
    counts &= (pixels >= 0) & (pixels < length)
    weights = jnp.maximum(1 - jnp.abs(jnp.clip(place, 0, length - 1) - pixels), 0)
    return jnp.where(counts, weights, 0).sum(-1) / jnp.maximum(samples, 1)


def _weighted(window: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Returns rows [S, h] · window [h, w, C] · columns [S, w]^T as [S, S, C]."""
    dot = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST)
    return dot("xw,ywc->yxc", columns, dot("yh,hwc->ywc", rows, window.astype(rows.dtype)))


def _dense(maps: Maps, regions: Regions, size: int) -> jax.Array:
    """Multiplies every map by every region's matrices, 0 for regions of other levels.

    The plain statement: no gathering, and gradients by matrix products, at the cost of whole maps.
    """

    def align(maps: Maps, region: Regions) -> jax.Array:
        total = jnp.zeros((), region.starts.dtype)
        for level, features in enumerate(maps):
            axes = zip(region.starts, region.sides, features.shape[:2], strict=True)
            rows, columns = (
                interpolation(start, side, size, jnp.int32(length), jnp.arange(length))
                for start, side, length in axes
            )
            rows = jnp.where(region.levels == level, rows, 0)
            total += _weighted(features, rows, columns)
        return total.astype(maps[0].dtype)

    def align_all(maps: Maps, regions: Regions) -> jax.Array:
        return lax.map(functools.partial(align, maps), regions, batch_size=CHUNK)

    return jax.vmap(align_all)(maps, regions)


class _Tiling(NamedTuple):
    """The tiles of each region's part of its map, numbered over all regions of an image.

    Attributes:
      lengths: [R, 2] int32, height and width of the region's map.
      origins: [R, 2] int32, where that map lies in the atlas.
      corners: [R, 2] int32, the first pixel that the region uses.
      columns: [R] int32, tiles beside each other.
      ends: [R] int32, number of tiles of this region and those before it.
    """

    lengths: jax.Array
    origins: jax.Array
    corners: jax.Array
    columns: jax.Array
    ends: jax.Array


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _tiled(maps: Maps, regions: Regions, size: int) -> jax.Array:
    """Adds up the products of the tiles that regions touch: time grows with the regions' areas.

    All maps of an image lie in one array, so that a tile is a slice of it. An image's tiles are
    visited one by one, which fixes the order of sums, also in gradients, where regions overlap.
    """
    atlas = _atlas(maps)
    dtype = regions.starts.dtype

    def add(total: jax.Array, atlas: jax.Array, tile: _Tile) -> jax.Array:
        window = lax.dynamic_slice(atlas, tile.corner, (TILE, TILE, atlas.shape[2]))
        strip = _dot(tile.rows, window.astype(dtype))
        # For so few rows a fused sum takes a third of the time of a product of matrices.
        part = (strip[:, None] * tile.columns[:, :, None]).sum(2)
        return total.at[tile.region].add(part)

    total = jnp.zeros((*regions.levels.shape, size, size, atlas.shape[3]), dtype)
    total = _for_tiles(add, total, atlas, _shapes(maps), regions, size)
    return total.astype(maps[0].dtype)


def _tiled_forward(maps, regions, size):
    # The gradient needs the maps' shapes and types, and none of their values.
    return _tiled(maps, regions, size), ([x[..., :0] for x in maps], regions)


def _tiled_backward(size, residuals, gradient):
    likenesses, regions = residuals
    dtype = regions.starts.dtype

    def add(total, gradient, tile):
        strip = (gradient[tile.region][:, :, None] * tile.columns[:, :, None]).sum(1)
        part = _dot(tile.rows.T, strip)
        part += lax.dynamic_slice(total, tile.corner, part.shape)
        return lax.dynamic_update_slice(total, part, tile.corner)

    channels = gradient.shape[-1]
    atlas = _atlas([jnp.zeros((*x.shape[:3], channels), dtype) for x in likenesses])
    shapes = _shapes(likenesses)
    atlas = _for_tiles(add, atlas, gradient.astype(dtype), shapes, regions, size)
    pieces = [
        atlas[:, y : y + h, x : x + w].astype(like.dtype)
        for (y, x), (h, w), like in zip(_places(shapes), shapes, likenesses, strict=True)
    ]
    return tuple(pieces), None


_tiled.defvjp(_tiled_forward, _tiled_backward)


class _Tile(NamedTuple):
    """A part of a region.

    Attributes:
      region: Its index.
      corner: [3] int32, where the tile begins in the atlas [H, W, C].
      rows, columns: [size, TILE], the parts of the region's two matrices.
    """

    region: jax.Array
    corner: jax.Array
    rows: jax.Array
    columns: jax.Array


def _for_tiles(
    add: Callable[[jax.Array, jax.Array, _Tile], jax.Array],
    total: jax.Array,
    source: jax.Array,
    shapes: Sequence[tuple[int, int]],
    regions: Regions,
    size: int,
) -> jax.Array:
    """Calls `add` for each tile of an image, all images at once; those with fewer add zeros."""
    tiling = jax.vmap(functools.partial(_tiling, shapes))(regions)
    # One number for all images: with a condition for each, the loop would copy `total` each time.
    number = tiling.ends[:, -1].max()

    def add_next(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        index, total = state
        tile = jax.vmap(functools.partial(_tile, size, index))(tiling, regions)
        return index + 1, jax.vmap(add)(total, source, tile)

    return lax.while_loop(lambda state: state[0] < number, add_next, (jnp.int32(0), total))[1]


def _tile(size: int, index: jax.Array, tiling: _Tiling, regions: Regions) -> _Tile:
    """Returns the tile with this number; if there are fewer, one below its region, of weights 0."""
    region = (tiling.ends[:-1] <= index).sum(dtype=jnp.int32)
    before = jnp.where(region > 0, tiling.ends[region - 1], 0)
    lengths, origin, corner, across, _ = (x[region] for x in tiling)
    corner += TILE * jnp.stack(jnp.divmod(index - before, across))
    rows, columns = (
        interpolation(start, side, size, length, first + jnp.arange(TILE))
        for start, side, length, first in zip(
            regions.starts[region], regions.sides[region], lengths, corner, strict=True
        )
    )
    return _Tile(region, jnp.pad(origin + corner, (0, 1)), rows, columns)


def _tiling(shapes: Sequence[tuple[int, int]], regions: Regions) -> _Tiling:
    lengths = jnp.asarray(shapes, jnp.int32)[regions.levels]
    origins = jnp.asarray(_places(shapes), jnp.int32)[regions.levels]
    last = (lengths - 1).astype(regions.starts.dtype)
    first, final = (
        jnp.clip(jnp.floor(x), 0, last).astype(jnp.int32)
        for x in (regions.starts, regions.starts + regions.sides + 1)
    )
    tiles = jnp.maximum(final - first, 0) // TILE + 1
    empty = (regions.sides <= 0).any(-1)
    ends = jnp.cumsum(jnp.where(empty, 0, tiles.prod(-1)), dtype=jnp.int32)
    return _Tiling(lengths, origins, first, tiles[:, 1], ends)


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns a [m, n] · b [n, w, C] as [m, w, C]."""
    product = jnp.matmul(a, b.reshape(len(b), -1), precision=lax.Precision.HIGHEST)
    return product.reshape(len(a), *b.shape[1:])


def _atlas(maps: Sequence[jax.Array]) -> jax.Array:
    """Returns one array with all maps [B, h, w, C], and room for tiles that begin on any pixel."""
    places = _places(_shapes(maps))
    ends = [(y + x.shape[1], left + x.shape[2]) for x, (y, left) in zip(maps, places, strict=True)]
    height, width = (max(sides) + TILE for sides in zip(*ends, strict=True))
    batch, channels = maps[0].shape[0], maps[0].shape[-1]
    atlas = jnp.zeros((batch, height, width, channels), maps[0].dtype)
    for features, place in zip(maps, places, strict=True):
        atlas = lax.dynamic_update_slice(atlas, features, (0, *place, 0))
    return atlas


def _places(shapes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns where maps lie in the atlas: the first on top, the others in a row below it."""
    height, x = shapes[0][0], 0
    places = [(0, 0)]
    for _, width in shapes[1:]:
        places.append((height, x))
        x += width
    return places


def _shapes(maps: Sequence[jax.Array]) -> list[tuple[int, int]]:
    return [(x.shape[1], x.shape[2]) for x in maps]


IMPLEMENTATIONS: dict[str, Implementation] = {"dense": _dense, "tiled": _tiled}

# The fastest on each backend, as measured; where nothing was, the one made of matrix products.
MEASURED = {"cpu": "tiled"}


@functools.cache
def measured_impl(backend: str) -> str:
    """Returns the fastest known implementation, and logs it once."""
    impl = MEASURED.get(backend, "dense")
    logging.getLogger(__name__).info("RoIAlign on %s: %s", backend, impl)
    return impl
