"""Cost of augmentation on the device: operations and bytes by XLA's own count.

    python benchmarks/augment.py

Counts are those of the compiled program (`cost_analysis`) for the recipe of InceptionNeXt-T: one
group of 128 images of 224 pixels to bfloat16. They depend on the back end: other devices fuse more
or less. Each part is also counted alone; the sum differs from the whole, which fuses parts.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks import environment
from inceptionnext_jax import model_info
from inceptionnext_jax.augment.recipe import AugmentSettings, make_augment

GROUP, SIZE, NUM_CLASSES = 128, 224, 1000
MODEL = "inceptionnext_tiny"
OFF = {"rand_augment": "", "mixup": 0.0, "cutmix": 0.0, "random_erasing": 0.0}
CASES = {
    "normalise only": OFF,
    "RandAugment": {**OFF, "rand_augment": AugmentSettings.rand_augment},
    "mixup and CutMix": {**OFF, "mixup": 0.8, "cutmix": 1.0},
    "random erasing": {**OFF, "random_erasing": 0.25},
    "whole recipe": {},
    "whole recipe, order convnext": {"order": "convnext"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--to", type=Path, default=Path(__file__).parent / "results/cpu/augment.json"
    )
    args = parser.parse_args()
    counts = {case: cost(AugmentSettings(**changes)) for case, changes in CASES.items()}
    info = model_info(MODEL)
    training = 6 * info.macs  # a multiply-add is two operations, and backward is twice forward
    whole = counts["whole recipe"]["flops_per_image"]
    result = {
        **environment.describe(("jax", "jaxlib")),
        "backend": jax.devices()[0].device_kind,
        "what": f"XLA's cost analysis of the compiled augmentation, {GROUP} images of {SIZE}x"
        f"{SIZE}, bfloat16 out; every case includes normalisation",
        "per_image": counts,
        "model_flops_per_image": training,
        "share_of_the_models_flops": float(f"{whole / training:.3g}"),
    }
    environment.write_json(args.to, result)
    print(f"{result['backend']}: {result['what']}")
    for case, count in counts.items():
        flops, mebibytes = count["flops_per_image"] / 1e6, count["bytes_per_image"] / 2**20
        print(f"{case:<30} {flops:8.2f} MFLOP {mebibytes:8.2f} MiB per image")
    print(f"{MODEL} trains with {training / 1e6:.0f} MFLOP per image: {whole / training:.2%}")


def cost(settings: AugmentSettings) -> dict[str, float]:
    """Operations, bytes read and written, and temporary memory per image."""
    info = model_info(MODEL)
    augment = make_augment(
        settings, NUM_CLASSES, info.mean, info.std, 0.1, jnp.bfloat16, mix_group=GROUP
    )
    batch = {
        "image": jax.ShapeDtypeStruct((GROUP, SIZE, SIZE, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct((GROUP,), jnp.int32),
    }
    key = jax.eval_shape(lambda: jax.random.key(0))
    positions = jax.ShapeDtypeStruct((GROUP,), jnp.int32)
    compiled = jax.jit(augment).lower(key, batch, positions).compile()
    counts: Any = compiled.cost_analysis()
    memory = compiled.memory_analysis()
    return {
        "flops_per_image": round(counts["flops"] / GROUP),
        "bytes_per_image": round(counts["bytes accessed"] / GROUP),
        "temporary_bytes_per_image": round(memory.temp_size_in_bytes / GROUP),
    }


if __name__ == "__main__":
    main()
