"""UperNet in this library and in transformers, as peers of `benchmarks.peers`.

Inference ends in a class for each pixel of the image; a training step has both heads, the losses of
both at the image's resolution, the backward pass and AdamW, without anything dropped.
"""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import LEARNING_RATE, WEIGHT_DECAY, Case, Runner, compile_jax, versions
from inceptionnext_jax.data.label_maps import IGNORED

NUM_CLASSES, AUXILIARY_WEIGHT = 150, 0.4


def labels(case: Case) -> np.ndarray:
    """Returns classes [batch, size, size], int32, of which some are ignored."""
    shape = (case.batch, case.size, case.size)
    drawn = np.random.default_rng(1).integers(0, NUM_CLASSES + 1, shape)
    return np.where(drawn == NUM_CLASSES, IGNORED, drawn).astype(np.int32)


def ours(case: Case) -> Runner:
    """The task of segmentation, compiled: its loss under `optax.adamw`, its label maps."""
    import jax
    import jax.numpy as jnp
    import optax
    from safetensors.numpy import load_file

    from inceptionnext_jax.convert import from_torch
    from inceptionnext_jax.data.views import canvas_of
    from inceptionnext_jax.models.dense.label_map import TILE

    size = (case.size, case.size)
    task = segmentation(case.model, case.size, case.dtype)
    variables = from_torch(case.model, load_file(Path(case.folder) / f"{case.model}.safetensors"))
    variables, x = jax.device_put(variables), jnp.asarray(case.images())
    if case.mode == "infer":
        canvas = canvas_of([size], TILE)
        view = task.views.view(np.zeros((*size, 3), np.uint8), size, False)
        arrays = {"windows_0": x[:, None]}
        for kind, length in zip(("rows", "columns"), canvas, strict=True):
            matrix = np.pad(view[kind], ((0, length - case.size), (0, 0)))
            arrays[f"{kind}_0"] = jnp.tile(matrix, (case.batch, 1, 1))
        sizes = jnp.tile(jnp.asarray(size, jnp.int32), (case.batch, 1))
        function = jax.jit(task.predict, static_argnums=3)
        compiled, info = compile_jax(function, variables, arrays, sizes, canvas)

        def infer():
            found = np.asarray(compiled(variables, arrays, sizes))
            return shares(found[:, 0, : case.size, : case.size])

        return Runner(infer, info)

    batch = {"image": x, "label": jnp.asarray(labels(case))}
    key, positions = jax.random.key(0), jnp.arange(case.batch)
    tx = optax.adamw(LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    def step(params, rest, moments, batch):
        def loss_of(params):
            return task.loss({"params": params, **rest}, batch, key, positions)

        (loss, aux), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, moments = tx.update(grads, moments, params)
        return optax.apply_updates(params, updates), {"batch_stats": aux[0]}, moments, loss

    params = variables.pop("params")
    state = [params, variables, jax.jit(tx.init)(params)]
    compiled, info = compile_jax(jax.jit(step, donate_argnums=(0, 1, 2)), *state, batch)

    def call():
        *state[:], loss = compiled(*state, batch)
        return loss.block_until_ready()

    return Runner(call, info)


def segmentation(model: str, size: int, dtype: str = "float32") -> Any:
    """Returns the task: whole images whose short side is `size`, nothing dropped."""
    import jax.numpy as jnp

    import inceptionnext_jax as inx
    from inceptionnext_jax.data.views import Views
    from inceptionnext_jax.tasks.segmentation.losses import PixelLoss
    from inceptionnext_jax.tasks.segmentation.task import Segmentation

    options = {"num_classes": NUM_CLASSES, "dropout_rate": 0.0, "dtype": jnp.dtype(dtype)}
    return Segmentation(
        model=inx.create_model(model, **options),
        mean=(0.0,) * 3,
        std=(1 / 255,) * 3,  # the common images are normalised already
        views=Views("whole", (4 * size, size), size, size),
        crop=size,
        class_names=[str(i) for i in range(NUM_CLASSES)],
        palette=(),
        loss_fn=PixelLoss("valid"),
        aux_weight=AUXILIARY_WEIGHT,
        devices=1,
        dtype=jnp.dtype(dtype),
    )


def evaluation_memory() -> dict[str, Any]:
    """Bytes of one batch's evaluation, of images as they often come and of large ones."""
    import jax
    import jax.numpy as jnp

    from benchmarks.hlo import temporary_bytes
    from inceptionnext_jax.data.views import canvas_of
    from inceptionnext_jax.models.dense.label_map import TILE

    name = "upernet_inceptionnext_tiny"
    task = segmentation(name, 512)
    variables = jax.eval_shape(task.init, jax.random.key(0))
    found = {}
    for batch, size in ((1, (512, 683)), (16, (512, 683)), (1, (2000, 3000)), (16, (2000, 3000))):
        canvas = canvas_of([size], TILE)
        arrays = task.views.arrays(np.zeros((*size, 3), np.uint8), "")
        shapes = {key: (array.shape, array.dtype) for key, array in arrays.items()}
        for kind, length in zip(("rows_0", "columns_0"), canvas, strict=True):
            shapes[kind] = ((length, arrays[kind].shape[1]), np.float32)
        shapes |= {"label": (canvas, np.uint8), "size": ((2,), np.int32), "mask": ((), np.float32)}
        rows = {
            key: jax.ShapeDtypeStruct((batch, *shape), dtype)
            for key, (shape, dtype) in shapes.items()
        }
        compiled = jax.jit(task.evaluate).lower(variables, rows).compile()
        found[f"batch of {batch}, {size[0]}×{size[1]}"] = {
            "temporary_bytes": temporary_bytes(compiled),
            "batch_bytes": sum(row.size * jnp.dtype(row.dtype).itemsize for row in rows.values()),
            "full_size_logits_bytes": 4 * NUM_CLASSES * batch * size[0] * size[1],
        }
    return {"model": name, "classes": NUM_CLASSES, **found}


def shares(label_maps: np.ndarray) -> np.ndarray:
    """Returns the share of the pixels that each class has: the result that peers must agree on."""
    return np.bincount(label_maps.ravel(), minlength=NUM_CLASSES) / label_maps.size


def transformers_peer(case: Case, channels_last: bool = False) -> Runner:
    """transformers' UperNetForSemanticSegmentation, which also resizes and computes the loss."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = _network(case).to(device)
    torch.set_num_threads(1 if case.core is not None else torch.get_num_threads())
    x = torch.tensor(case.images().transpose(0, 3, 1, 2), device=device).contiguous()
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    amp = torch.autocast(device, torch.bfloat16, enabled=case.dtype == "bfloat16")
    info = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "layout": "NHWC" if channels_last else "NCHW",
        "threads": torch.get_num_threads(),
        "versions": versions("torch", "transformers"),
    }
    if case.mode == "infer":
        model.eval()

        @torch.inference_mode()
        def infer():
            with amp:
                return shares(model(x).logits.argmax(1).cpu().numpy())

        return Runner(infer, info)

    model.train()
    wanted = torch.tensor(labels(case), dtype=torch.long, device=device)
    optimizer = torch.optim.AdamW(
        model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
    )

    def train():
        with amp:
            loss = model(x, labels=wanted).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return Runner(train, info)


def make_weights(case: Case) -> None:
    """Writes the common weights in transformers' names, with random statistics and scales."""
    import torch
    from safetensors.torch import save_file

    from tests.models.oracle import randomise

    torch.manual_seed(0)
    state = randomise(_network(case)).state_dict()
    file = Path(case.folder) / f"{case.model}.safetensors"
    save_file({key: value.contiguous() for key, value in state.items()}, file)


def _network(case: Case) -> Any:
    """Returns transformers' network, with the common weights if they exist yet."""
    from benchmarks.oracle import import_transformers

    transformers = import_transformers()
    import inceptionnext_jax as inx

    name = case.model.removeprefix("upernet_")
    backbone = transformers.ConvNextConfig(
        hidden_sizes=list(inx.create_model(name).stage_dims),
        depths=list(inx.model_info(name).stage_depths),
        out_features=[f"stage{i}" for i in (1, 2, 3, 4)],
    )
    config = transformers.UperNetConfig(
        backbone_config=backbone, num_labels=NUM_CLASSES, loss_ignore_index=IGNORED
    )
    model = transformers.UperNetForSemanticSegmentation(config)
    file = Path(case.folder) / f"{case.model}.safetensors"
    if file.exists():
        from safetensors.torch import load_file

        model.load_state_dict(load_file(file))
    return model
