"""Detectors by part: seconds of an inference and of a training step, and the step's memory.

python -m benchmarks.detection --sizes=96x128 --networks=mask_rcnn_resnet18 --rounds=1

prints JSON; `benchmarks.run --suite=detection` measures what docs/performance.md shows. Weights are
random. Those of the last layers are enlarged, so that boxes of many classes enter the suppression
as they do in a trained network; the record says how many proposals and detections there were.
Parts are timed on their own, each with the arrays that the network gives it. What is left of the
whole is decoding, and the suppression within classes.
"""

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

NETWORKS = ("mask_rcnn_resnet50", "retinanet_resnet50")
SIZES = ((800, 1344), (320, 448))
MEMORY_OF, MEMORY_SIZE, MEMORY_BATCH = "mask_rcnn_convnext_tiny", (800, 1344), 2
OBJECTS, MASK_SIDE = 7, 112  # of an image, as in COCO on average; pixels of stored masks
ROUNDS = 3
_LOUDER = {"fc_cls/kernel": 50.0, "retina_cls/kernel": 50.0}

Calls = dict[str, Callable[[], Any]]


def suite(
    networks: tuple[str, ...] = NETWORKS,
    sizes: tuple[tuple[int, int], ...] = SIZES,
    rounds: int = ROUNDS,
    memory_of: str = MEMORY_OF,
    memory_size: tuple[int, int] = MEMORY_SIZE,
) -> dict[str, Any]:
    """Returns all results: seconds of CPU time of one image, and bytes."""
    found: dict[str, Any] = {"unit": "seconds of CPU time, one image", "rounds": rounds}
    for name in networks:
        for size in sizes:
            _say(f"{name} at {size[0]}×{size[1]}")
            found[f"{name}, {size[0]}×{size[1]}"] = timed(name, size, rounds)
    _say(f"memory of {memory_of}")
    found["memory"] = memory(memory_of, memory_size)
    return found


def timed(name: str, size: tuple[int, int], rounds: int) -> dict[str, Any]:
    """Returns the seconds of a network's inference and training step, by part, and of its twins."""
    import jax

    from benchmarks.detection_twins import twins
    from benchmarks.programs import take_turns

    model, variables = network(name)
    x, sizes = images(size)
    parts, counts = inference_parts(model, variables, x, sizes)
    whole = jax.jit(lambda v, x, s: model.apply(v, x, s, train=False))
    inference = {"whole": lambda: whole(variables, x, sizes), **parts}
    step, state = training_step(model, variables)
    batch = (x, targets(size))
    training = {"whole": lambda: step(*state, *batch), **training_parts(model, variables, x, size)}
    found = {
        "inference": shares(take_turns(inference, rounds)),
        "training": shares(take_turns(training, rounds)),
        **counts,
    }
    return {**found, "twins": twins(name, size, rounds)}


def shares(seconds: dict[str, float]) -> dict[str, Any]:
    """Returns seconds of each part, and its share of the whole."""
    whole = seconds["whole"]
    on_device = sum(t for name, t in seconds.items() if name not in ("whole", "paste"))
    rest = max(whole - on_device, 0.0)
    parts = {**seconds, "rest": rest}
    return {
        name: {"seconds": float(f"{value:.4g}"), "share": round(value / whole, 3)}
        for name, value in parts.items()
    }


def network(name: str) -> tuple[Any, Any]:
    """Returns a network and random variables."""
    import jax
    import jax.numpy as jnp

    import inceptionnext_jax as inx
    from inceptionnext_jax.trees import nested, paths_and_leaves

    model = inx.create_model(name)
    # Nothing in the parameters depends on the image's size.
    init = jax.jit(lambda key, x: model.init(key, x, train=False))
    variables = init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    leaves = {
        path: leaf * next((f for end, f in _LOUDER.items() if path.endswith(end)), 1.0)
        for path, leaf in paths_and_leaves(variables)
    }
    return model, nested(leaves)


def images(size: tuple[int, int]) -> tuple[Any, Any]:
    """Returns one image of coarse noise, [1, H, W, 3], and its size."""
    import jax.numpy as jnp

    coarse = np.random.default_rng(0).normal(size=(1, size[0] // 8, size[1] // 8, 3))
    x = coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.float32)
    return jnp.asarray(x), jnp.asarray([size], jnp.int32)


def targets(size: tuple[int, int], batch: int = 1) -> Any:
    """Returns objects of random places and sizes."""
    import jax.numpy as jnp

    from inceptionnext_jax.models.dense.targets import Targets

    random = np.random.default_rng(1)
    sides = np.array([size[1], size[0]], np.float32)
    extent = random.uniform(0.05, 0.5, (batch, OBJECTS, 2)) * sides
    corner = random.uniform(0, 1, (batch, OBJECTS, 2)) * (sides - extent)
    masks = random.integers(0, 2, (batch, OBJECTS, MASK_SIDE, MASK_SIDE)) * 255
    return Targets(
        sizes=jnp.tile(jnp.asarray(size, jnp.int32), (batch, 1)),
        boxes=jnp.asarray(np.concatenate([corner, corner + extent], -1), jnp.float32),
        classes=jnp.asarray(random.integers(0, 80, (batch, OBJECTS)), jnp.int32),
        valid=jnp.ones((batch, OBJECTS), bool),
        masks=jnp.asarray(masks, jnp.uint8),
    )


def inference_parts(model: Any, variables: Any, x: Any, sizes: Any) -> tuple[Calls, dict[str, Any]]:
    """Returns a call of each part of inference, and the numbers of proposals and detections."""
    import jax

    from inceptionnext_jax.data.found import found_objects
    from inceptionnext_jax.models.dense import rpn
    from inceptionnext_jax.models.dense.detection_heads import ROI_SIZE
    from inceptionnext_jax.models.dense.mask_rcnn import MASK_ROI_SIZE
    from inceptionnext_jax.ops.anchors import RPN as ANCHORS
    from inceptionnext_jax.ops.roi_align import STRIDES, roi_align

    calls: Calls = {}

    def part(name: str, function: Callable[..., Any], *args: Any) -> Any:
        compiled = jax.jit(function)
        calls[name] = lambda: compiled(*args)
        return compiled(*args)

    def of(method: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: model.apply(variables, *args, method=method)

    found = jax.jit(lambda x, s: model.apply(variables, x, s, train=False))(x, sizes)
    maps = part("backbone", of(lambda m, x: m.features(x)), x)
    levels = part("pyramid", of(lambda m, maps: m.neck(maps)), maps)
    counts = {"detections": int(np.asarray(found["valid"]).sum())}
    if not hasattr(model, "rois"):
        part("retina_head", of(lambda m, levels: m.retina_head(levels)), levels)
    else:
        scores, deltas = part("rpn_head", of(lambda m, levels: m.rpn_head(levels)), levels)

        def propose(scores: Any, deltas: Any, sizes: Any) -> Any:
            count = model.proposals
            return rpn.propose(scores, deltas, ANCHORS, sizes, count, count)

        proposals = part("proposals, with NMS", propose, scores, deltas, sizes)
        counts["proposals"] = int(np.asarray(proposals.valid).sum())
        for head, boxes, side in (
            ("bbox_head", proposals.boxes, ROI_SIZE),
            ("mask_head", found["boxes"], MASK_ROI_SIZE),
        ):
            cut = part(
                f"RoIAlign for {head}",
                lambda levels, boxes, side=side: roi_align(levels[: len(STRIDES)], boxes, side),
                levels,
                boxes,
            )
            rows = cut.reshape(-1, *cut.shape[2:])
            part(head, of(lambda m, rows, head=head: getattr(m, f"{head}s")[0](rows)), rows)
    size = np.asarray(sizes)[0]
    pasted = {name: np.asarray(array)[0] for name, array in found.items()}
    pasted["boxes"] = np.asarray(targets(tuple(map(int, size)), len(pasted["boxes"])).boxes)[:, 0]
    pasted["valid"] = np.ones_like(pasted["valid"])  # as many as there can be
    calls["paste"] = lambda: found_objects(pasted, size, size)
    return calls, counts


def training_step(model: Any, variables: Any) -> tuple[Any, tuple[Any, ...]]:
    """Returns a compiled step of AdamW, and its first arguments."""
    import jax
    import optax

    tx = optax.adamw(1e-4, weight_decay=0.05)
    rest = {name: tree for name, tree in variables.items() if name != "params"}

    def step(params: Any, rest: Any, moments: Any, x: Any, objects: Any) -> Any:
        def loss_of(params: Any) -> Any:
            losses, _ = model.apply(
                {"params": params, **rest}, x, objects, jax.random.key(0),
                method="losses", mutable=["batch_stats"],
            )  # fmt: skip
            return sum(losses.values())

        loss, grads = jax.value_and_grad(loss_of)(params)
        updates, moments = tx.update(grads, moments, params)
        return optax.apply_updates(params, updates), moments, loss

    params = variables["params"]
    moments = jax.eval_shape(tx.init, params)
    if not isinstance(jax.tree.leaves(params)[0], jax.ShapeDtypeStruct):
        moments = tx.init(params)
    return jax.jit(step), (params, rest, moments)


def training_parts(model: Any, variables: Any, x: Any, size: tuple[int, int]) -> Calls:
    """Returns a call of each part of the training step, with its backward pass."""
    import jax
    import jax.numpy as jnp

    from inceptionnext_jax.models.dense import rpn
    from inceptionnext_jax.models.dense.detection_heads import ROI_SIZE
    from inceptionnext_jax.models.dense.mask_rcnn import MASK_ROI_SIZE
    from inceptionnext_jax.models.dense.targets import image_keys
    from inceptionnext_jax.ops.anchors import RPN as ANCHORS
    from inceptionnext_jax.ops.roi_align import STRIDES, roi_align

    calls: Calls = {}
    rest = {name: tree for name, tree in variables.items() if name != "params"}

    def part(name: str, function: Callable[..., Any], *args: Any) -> Any:
        """Times function(params, *args) and its derivatives by params and the first argument."""

        @jax.jit
        def both(params: Any, *args: Any) -> Any:
            first = lambda params, one: function(params, one, *args[1:])  # noqa: E731
            found, pullback = jax.vjp(first, params, args[0])
            return found, pullback(found)

        calls[name] = lambda: both(variables["params"], *args)
        return calls[name]()[0]

    def of(method: Callable[..., Any]) -> Callable[..., Any]:
        def apply(params: Any, *args: Any) -> Any:
            given = {"params": params, **rest}
            return model.apply(given, *args, method=method, mutable=["batch_stats"])[0]

        return apply

    maps = part("backbone", of(lambda m, x: m.features(x, True)), x)
    levels = part("pyramid", of(lambda m, maps: m.neck(maps)), maps)
    objects = targets(size)
    if not hasattr(model, "rois"):
        part("retina_head", of(lambda m, levels: m.retina_head(levels)), levels)
        return calls
    scores, deltas = part("rpn_head", of(lambda m, levels: m.rpn_head(levels)), levels)
    keys = image_keys(jax.random.key(0), jnp.arange(1))

    def rpn_losses(params: Any, both: Any) -> Any:
        return rpn.rpn_losses(*both, ANCHORS, objects, keys, rpn.Sampling())

    part("RPN losses, with assignment", rpn_losses, (scores, deltas))

    @jax.jit
    def propose(scores: Any, deltas: Any) -> Any:
        count = model.proposals
        return rpn.propose(scores, deltas, ANCHORS, objects.sizes, 2 * count, count)

    calls["proposals, with NMS"] = lambda: propose(scores, deltas)
    boxes = propose(scores, deltas).boxes[:, : model.rois]
    for head, count, side in (
        ("bbox_head", model.rois, ROI_SIZE),
        ("mask_head", int(model.rois * model.roi_fraction), MASK_ROI_SIZE),
    ):
        cut = part(
            f"RoIAlign for {head}",
            lambda _, levels, boxes, side=side: roi_align(levels[: len(STRIDES)], boxes, side),
            levels,
            boxes[:, :count],
        )
        rows = cut.reshape(-1, *cut.shape[2:])
        part(head, of(lambda m, rows, head=head: getattr(m, f"{head}s")[0](rows)), rows)
    return calls


def memory(name: str, size: tuple[int, int], batch: int = MEMORY_BATCH) -> dict[str, Any]:
    """Returns bytes of temporaries of a training step with each form of RoIAlign, by XLA."""
    import jax
    import jax.numpy as jnp

    import inceptionnext_jax as inx
    from benchmarks.hlo import temporary_bytes
    from inceptionnext_jax.ops.roi_align import IMPLEMENTATIONS

    x = jax.ShapeDtypeStruct((batch, *size, 3), jnp.float32)
    objects = jax.eval_shape(lambda: targets(size, batch))
    found = {}
    for impl in sorted(IMPLEMENTATIONS):
        model = inx.create_model(name, roi_align_impl=impl)
        variables = jax.eval_shape(
            lambda key, model=model: model.init(key, jnp.zeros((1, 64, 64, 3))), jax.random.key(0)
        )
        step, state = training_step(model, variables)
        found[impl] = temporary_bytes(step.lower(*state, x, objects).compile())
        _say(f"{impl}: {found[impl] / 2**30:.2f} GiB")
    return {"model": name, "batch": batch, "size": list(size), "temporary_bytes": found}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    pair = lambda text: tuple(map(int, text.split("x")))  # noqa: E731
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--sizes", default=",".join(f"{h}x{w}" for h, w in SIZES))
    parser.add_argument("--memory-of", default=MEMORY_OF)
    parser.add_argument("--memory-size", type=pair, default=MEMORY_SIZE, metavar="HxW")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    args = parser.parse_args()
    sizes = tuple(map(pair, args.sizes.split(",")))
    networks = tuple(args.networks.split(","))
    found = suite(networks, sizes, args.rounds, args.memory_of, args.memory_size)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
