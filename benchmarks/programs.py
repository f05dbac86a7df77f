"""Suites that measure our own programs: ceilings, mixer, block, compile, memory, evaluation,
detection, detection_report, input, scaling.

`run.py` starts each in a process of its own (`python -m benchmarks.programs SUITE CORE`).
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import environment

# Channels, side and number of blocks of InceptionNeXt-T's stages at 224 pixels.
STAGES = ((96, 56, 3), (192, 28, 3), (384, 14, 9), (768, 7, 3))
BATCH, ROUNDS, DEVICES = 8, 7, 8


def run(suite: str, core: int) -> dict[str, Any]:
    """Returns the record of a suite."""
    command = [sys.executable, "-m", "benchmarks.programs", suite, str(core)]
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={DEVICES}"}
    env = os.environ | (flags if suite == "scaling" else {})
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=env)
    packages = ("jax", "jaxlib", "flax", "optax", "numpy")
    return {**environment.describe(packages), "results": json.loads(done.stdout)}


def mixer() -> dict[str, Any]:
    """Milliseconds of the depthwise forms over all blocks, forward and with the backward pass.

    Covers InceptionNeXt's mixer and ConvNeXt's 7×7 convolution, with InceptionNeXt-T's shapes.
    """
    import jax
    import numpy as np

    from inceptionnext_jax.ops import depthwise

    random = np.random.default_rng(0)

    def draw(*shape: int) -> jax.Array:
        return jax.device_put(random.normal(size=shape).astype(np.float32))

    found: dict[str, Any] = {}
    for kind in ("inception", "7x7"):
        totals = {impl: [0.0, 0.0] for impl in depthwise.IMPLEMENTATIONS}
        stages = {}
        for C, side, blocks in STAGES:
            x = draw(BATCH, side, side, C)
            if kind == "inception":
                sizes = zip(depthwise.BRANCHES, ((3, 3), (1, 11), (11, 1)), strict=True)
                params = {
                    name: {"kernel": draw(*size, 1, C // 8), "bias": draw(C // 8)}
                    for name, size in sizes
                }
                apply = depthwise.inception_mixer
            else:
                params, apply = draw(7, 7, 1, C), depthwise.depthwise_conv

            calls = {
                (impl, number): (lambda f=f, x=x, params=params: f(x, params))
                for impl in depthwise.IMPLEMENTATIONS
                for number, f in enumerate(_passes(apply, impl))
            }
            times = take_turns(calls)
            stages[f"{C} channels, {side}×{side}"] = {
                impl: [round(1e3 * times[impl, number], 3) for number in (0, 1)] for impl in totals
            }
            for impl, number in calls:
                totals[impl][number] += blocks * 1e3 * times[impl, number]
        found[kind] = {
            "stages": stages,
            "blocks": {impl: [round(value, 2) for value in both] for impl, both in totals.items()},
            "speed_up_over_conv": {
                impl: [round(totals["conv"][n] / both[n], 2) for n in (0, 1)]
                for impl, both in totals.items()
            },
        }
    return {"unit": "ms of CPU time [forward, forward and backward]", "batch": BATCH, **found}


def _passes(apply: Callable[..., Any], impl: str) -> tuple[Any, Any]:
    """Returns two jitted functions of (x, params): forward, and forward with backward."""
    import jax

    def forward(x, params):
        return apply(x, params, impl=impl)

    def both(x, params):
        y, pullback = jax.vjp(forward, x, params)
        return y, pullback(y)

    return jax.jit(forward), jax.jit(both)


def block() -> dict[str, Any]:
    """Milliseconds of one MetaNeXt block of each stage, forward and with the backward pass."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    import inceptionnext_jax as inx

    found = {}
    for C, side, _ in STAGES:
        x = jnp.asarray(np.random.default_rng(0).normal(size=(BATCH, side * 4, side * 4, 3)), "f4")
        calls: dict[Any, Callable[[], Any]] = {}
        for impl in ("auto", "conv"):
            # A network of one stage: its stem and head cost next to nothing beside the block.
            model = inx.create_model(
                "inceptionnext_tiny", stage_depths=(1,), stage_dims=(C,), mlp_ratios=(4,),
                num_classes=10, depthwise_impl=impl,
            )  # fmt: skip
            variables = jax.jit(model.init)(jax.random.key(0), x[:1])
            params, rest = variables["params"], {"batch_stats": variables["batch_stats"]}

            def forward(params, model=model, rest=rest, x=x):
                maps, _ = model.apply(
                    {"params": params, **rest}, x, True, method="features", mutable=list(rest)
                )
                return maps[0]

            def both(params, forward=forward):
                y, pullback = jax.vjp(forward, params)
                return pullback(y)

            for number, f in enumerate((jax.jit(forward), jax.jit(both))):
                calls[impl, number] = lambda f=f, params=params: f(params)
        times = take_turns(calls)
        found[f"{C} channels, {side}×{side}"] = {
            impl: [round(1e3 * times[impl, number], 2) for number in (0, 1)]
            for impl in ("auto", "conv")
        }
    return {"unit": "ms of CPU time [forward, forward and backward]", "batch": BATCH, **found}


def ceilings() -> dict[str, Any]:
    """Peak rates of the device: products of large matrices, and copies of large arrays."""
    import jax
    import jax.numpy as jnp

    n, elements = 2048, 2**26
    a = jnp.ones((n, n), jnp.float32)
    x = jnp.ones(elements, jnp.float32)
    multiply, copy = jax.jit(jnp.matmul), jax.jit(lambda x: x + 1)
    times = take_turns({"multiply": lambda: multiply(a, a), "copy": lambda: copy(x)})
    return {
        "gflop_per_s": round(2 * n**3 / times["multiply"] / 1e9, 1),
        "gb_per_s": round(2 * 4 * elements / times["copy"] / 1e9, 1),
    }


def compile() -> dict[str, Any]:
    """CPU seconds to trace and to compile the training step, and the length of its StableHLO."""
    settings = {"default": {}, "scan": {"scan": True}}
    found = {}
    for name in ("inceptionnext_tiny", "inceptionnext_base"):
        for setting, options in settings.items():
            start = time.process_time()
            lowered = _step(name, BATCH, **options)
            traced = time.process_time()
            lowered.compile()
            found[f"{name}, {setting}"] = {
                "trace_seconds": round(traced - start, 1),
                "compile_seconds": round(time.process_time() - traced, 1),
                "stablehlo_bytes": len(lowered.as_text()),
            }
    return {"batch": BATCH, "size": 224, **found}


def memory() -> dict[str, Any]:
    """Bytes of temporaries in InceptionNeXt-T's training step."""
    from benchmarks.hlo import temporary_bytes

    settings = {
        "default": {},
        "scan": {"scan": True},
        "remat": {"remat": True},
        "scan, remat": {"scan": True, "remat": True},
    }
    found = {
        name: temporary_bytes(_step("inceptionnext_tiny", BATCH, **options).compile())
        for name, options in settings.items()
    }
    shares = {name: round(value / found["default"], 3) for name, value in found.items()}
    return {"batch": BATCH, "size": 224, "temporary_bytes": found, "of_default": shares}


def evaluation() -> dict[str, Any]:
    """Bytes of UperNet-T's evaluation of a batch, with 150 classes."""
    from benchmarks.upernet import evaluation_memory

    return evaluation_memory()


def detection() -> dict[str, Any]:
    """Seconds of detectors by part, and memory of a training step."""
    from benchmarks.detection import suite

    return suite()


def detection_report() -> dict[str, Any]:
    """Time and memory of the scores of 5,000 images."""
    from benchmarks.detection_report import measured

    return measured()


def input() -> dict[str, Any]:
    """Share of its time that a real training run waits for images."""
    from benchmarks.input import jpegs

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "images"
        for split in ("train", "val"):
            for number, file in enumerate(jpegs(64)):
                target = root / split / f"class_{number % 2}" / f"{number}.jpg"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file)
        command = [
            sys.executable, "main.py", "--config=configs/tiny.py", f"--workdir={folder}/run",
            "--config.data.name=folder", f"--config.data.dir={root}", "--config.batch_size=16",
            "--config.model.num_classes=2", "--config.data.workers=1",
            "--config.model.bn_group_size=0", "--config.augment.mix_group_size=0",
            "--config.total_steps=12", "--config.log.every_steps=4",
            "--config.eval.every_steps=12", "--config.checkpoint.every_steps=12",
            "--config.schedule.warmup_epochs=0", "--config.schedule.cooldown_epochs=0",
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=sys.stderr, cwd=Path(__file__).parent.parent)
        lines = (Path(folder) / "run/metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    waits = [row["train/input_wait"] for row in rows if "train/input_wait" in row]
    return {"batch": 16, "model": "inceptionnext_tiny", "input_wait": waits}


def scaling() -> dict[str, Any]:
    """Collectives in one step's program on 1 and on 8 devices: kinds, counts, bytes."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import AxisType

    from benchmarks.hlo import collectives
    from configs import tiny
    from inceptionnext_jax.data import known_dataset
    from inceptionnext_jax.tasks.classification import build
    from inceptionnext_jax.train import mesh as meshes
    from inceptionnext_jax.train.optimizer import make_optimizer
    from inceptionnext_jax.train.state import create_state
    from inceptionnext_jax.train.step import StepScalars, make_train_step

    found: dict[str, Any] = {}
    for devices in (1, DEVICES):
        config = tiny.get_config()
        config.data.image_size, config.batch_size = 64, 8 * devices
        config.model.bn_group_size, config.augment.mix_group_size = 8, 8
        config.optim.accumulate = 1
        task = build.build(config, known_dataset("imagenet2012")).task
        mesh = jax.make_mesh(
            (devices, 1), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2,
            devices=jax.devices()[:devices],
        )  # fmt: skip
        shapes = jax.eval_shape(task.init, jax.random.key(0))
        optimizer = make_optimizer(config.optim, shapes["params"], config.model.name)
        ema = config.ema_decay is not None
        state = jax.eval_shape(
            lambda key, task=task, tx=optimizer.tx, ema=ema: create_state(task.init(key), tx, ema),
            jax.random.key(0),
        )
        shardings = meshes.state_shardings(mesh, state)
        step = make_train_step(task, optimizer, seed=0, ema_decay=config.ema_decay)
        everywhere = meshes.replicated(mesh)
        jitted = jax.jit(
            step,
            in_shardings=(shardings, meshes.batch_sharding(mesh), everywhere),
            out_shardings=(shardings, everywhere),
            donate_argnums=0,
        )
        images = jax.ShapeDtypeStruct((1, 8 * devices, 64, 64, 3), jnp.uint8)
        labels = jax.ShapeDtypeStruct((1, 8 * devices), jnp.int32)
        scalars = StepScalars(jax.ShapeDtypeStruct((), jnp.float32), {})
        batch = {"image": images, "label": labels}
        compiled = jitted.lower(state, batch, scalars).compile()
        parameters = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
        found[f"{devices} devices"] = collectives(compiled)
        found["gradient_bytes"] = 4 * parameters
    return found


SUITES = {
    f.__name__: f
    for f in (
        ceilings,
        mixer,
        block,
        compile,
        memory,
        evaluation,
        detection,
        detection_report,
        input,
        scaling,
    )
}


def _step(name: str, batch: int, **options: Any) -> Any:
    """Returns the lowered training step of `peers.ours`, from shapes alone."""
    import jax
    import jax.numpy as jnp
    import optax

    import inceptionnext_jax as inx

    model = inx.create_model(name, **options)
    x = jax.ShapeDtypeStruct((batch, 224, 224, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    tx = optax.adamw(1e-3, weight_decay=0.05)

    def loss_of(params, stats, x):
        variables = {"params": params, "batch_stats": stats}
        logits, new = model.apply(variables, x, train=True, mutable=["batch_stats"])
        labels = jnp.arange(batch)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return losses.mean(), new["batch_stats"]

    def step(params, stats, moments, x):
        (loss, stats), grads = jax.value_and_grad(loss_of, has_aux=True)(params, stats, x)
        updates, moments = tx.update(grads, moments, params)
        return optax.apply_updates(params, updates), stats, moments, loss

    params = variables["params"]
    moments = jax.eval_shape(tx.init, params)
    jitted = jax.jit(step, donate_argnums=(0, 1, 2))
    return jitted.lower(params, variables["batch_stats"], moments, x)


def take_turns(calls: dict[Any, Callable[[], Any]], rounds: int = ROUNDS) -> dict[Any, float]:
    """Median CPU seconds of each call; the calls take turns."""
    import jax

    for call in calls.values():
        jax.block_until_ready(call())
    seconds: dict[Any, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.process_time()
            jax.block_until_ready(call())
            seconds[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    suite, core = sys.argv[1], int(sys.argv[2])
    answers, sys.stdout = sys.stdout, sys.stderr
    if suite not in ("input", "scaling"):
        os.sched_setaffinity(0, {core})
    print(json.dumps(SUITES[suite]()), file=answers)


if __name__ == "__main__":
    main()
