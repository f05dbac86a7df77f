"""One network of one library in a process of its own, timed on request (see `run.py`).

python -m benchmarks.peers JSON

When ready, the process prints one line of JSON: facts about the compiled program, and its result
for the common input. It answers each line "N" with the CPU and wall seconds of N calls.
"""

import dataclasses
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TIMM_NAMES = {
    "inceptionnext_atto": "inception_next_atto",
    "inceptionnext_tiny": "inception_next_tiny",
    "inceptionnext_small": "inception_next_small",
    "inceptionnext_base": "inception_next_base",
    "deit_small": "deit_small_patch16_224",
    "swin_tiny": "swin_tiny_patch4_window7_224",
}
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 0.05


@dataclasses.dataclass
class Case:
    """The task that all peers of a comparison perform.

    Attributes:
      peer: A name in `PEERS`.
      model: Our name for the network.
      mode: "infer" or "train" (forward, backward, AdamW; no drop path, hard labels).
      batch: Images per call.
      size: Pixels on a side.
      dtype: "float32" or "bfloat16" (activations; in PyTorch by autocast).
      core: CPU core that the process is pinned to; None allows all cores.
      folder: Folder of the common weights.
    """

    peer: str
    model: str
    mode: str
    batch: int
    size: int = 224
    dtype: str = "float32"
    core: int | None = 0
    folder: str = ""

    @property
    def is_system(self) -> bool:
        return self.model.startswith("upernet_")

    def images(self) -> np.ndarray:
        """Returns the common input [batch, size, size, 3], float32."""
        shape = (self.batch, self.size, self.size, 3)
        return np.random.default_rng(0).normal(size=shape).astype(np.float32)

    def labels(self) -> np.ndarray:
        """Returns classes [batch], int64."""
        return np.arange(self.batch) * 7 % 1000


@dataclasses.dataclass
class Runner:
    """A compiled network.

    Attributes:
      call: Runs once and waits; returns the logits, or the loss before the step.
      info: Facts for the record.
      common: True if it has the common weights, so that results can be compared.
    """

    call: Callable[[], Any]
    info: dict[str, Any]
    common: bool = True


def jax_device() -> dict[str, Any]:
    import jax

    device = jax.devices()[0]
    return {
        "device": device.device_kind,
        "matmul_precision": jax.config.jax_default_matmul_precision or "default",
        "layout": "NHWC",
        "versions": versions("jax", "jaxlib", "flax", "optax"),
    }


def versions(*packages: str) -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in packages}


def ours(case: Case, deployed: bool = False, **options: Any) -> Runner:
    """The default use: `create_model` under `jax.jit`, with `optax.adamw` in training."""
    import jax
    import jax.numpy as jnp
    import optax
    from safetensors.numpy import load_file

    import inceptionnext_jax as inx
    from inceptionnext_jax.convert import from_torch

    model = inx.create_model(case.model, dtype=jnp.dtype(case.dtype), **options)
    state = load_file(Path(case.folder) / f"{case.model}.safetensors")
    vanilla = case.model.startswith("vanillanet")
    variables = from_torch(case.model, state, **({"deployed": True} if vanilla else {}))
    if vanilla:
        model = model.clone(is_deployed=True)
    elif deployed:
        model, variables = inx.deploy(model, variables)
    variables = jax.device_put(variables)
    x = jnp.asarray(case.images())
    if case.mode == "infer":
        compiled, info = compile_jax(jax.jit(model.apply), variables, x)
        return Runner(lambda: compiled(variables, x).block_until_ready(), info)

    tx = optax.adamw(LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    labels = jnp.asarray(case.labels())

    def loss_of(params, rest, x):
        logits, new = model.apply({"params": params, **rest}, x, train=True, mutable=list(rest))
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), new

    def step(params, rest, moments, x):
        (loss, new), grads = jax.value_and_grad(loss_of, has_aux=True)(params, rest, x)
        updates, moments = tx.update(grads, moments, params)
        return optax.apply_updates(params, updates), {**rest, **new}, moments, loss

    params = variables.pop("params")
    state = [params, variables, jax.jit(tx.init)(params)]
    compiled, info = compile_jax(jax.jit(step, donate_argnums=(0, 1, 2)), *state, x)

    def call():
        *state[:], loss = compiled(*state, x)
        return loss.block_until_ready()

    return Runner(call, info)


def compile_jax(function: Any, *arguments: Any) -> tuple[Any, dict[str, Any]]:
    """Compiles, without the persistent cache; returns the program and facts about it."""
    from benchmarks.hlo import temporary_bytes

    start = time.perf_counter()
    compiled = function.lower(*arguments).compile()
    seconds = time.perf_counter() - start
    info = {"compile_seconds": round(seconds, 2), "temporary_bytes": temporary_bytes(compiled)}
    return compiled, info | jax_device()


def torch_model(case: Case) -> Any:
    """Returns the network in PyTorch, with the common weights if they exist yet."""
    from benchmarks.oracle import import_timm

    file = Path(case.folder) / f"{case.model}.safetensors"
    if case.model == "vanillanet_6":
        from tests.models.torch_vanillanet import VanillaNet

        model = VanillaNet((512, 1024, 2048, 4096, 4096), (2, 2, 2, None), 1000, deployed=True)
    else:
        model = import_timm().create_model(TIMM_NAMES.get(case.model, case.model))
    if file.exists():
        from safetensors.torch import load_file

        model.load_state_dict(load_file(file))
    return model


def torch_peer(case: Case, layout: str = "NCHW", compiled: bool = False) -> Runner:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    # As in the papers' measurements, and JAX's default on such a GPU.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    model = torch_model(case).to(device)
    torch.set_num_threads(1 if case.core is not None else len(os.sched_getaffinity(0)))
    x = torch.tensor(case.images().transpose(0, 3, 1, 2), device=device)
    if layout == "NHWC":
        model = model.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    else:
        x = x.contiguous()
    forward = model
    if compiled:
        forward = torch.compile(model, mode="max-autotune" if device == "cuda" else None)
    amp = torch.autocast(device, torch.bfloat16, enabled=case.dtype == "bfloat16")
    info = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "layout": layout,
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "threads": torch.get_num_threads(),
        "versions": versions("torch", "timm"),
    }
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    if case.mode == "infer":
        model.eval()

        @torch.inference_mode()
        def infer():
            with amp:
                y = forward(x)
            wait()
            return y.float().cpu().numpy()

        return Runner(infer, info | {"compile_seconds": first_call(infer) if compiled else 0.0})

    model.train()
    labels = torch.tensor(case.labels(), device=device)
    optimizer = torch.optim.AdamW(
        model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
    )

    def train():
        with amp:
            loss = torch.nn.functional.cross_entropy(forward(x).float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        wait()
        return loss.item()

    # The first call is the first step, whose loss is compared, and it includes compilation.
    return Runner(train, info)


def first_call(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return round(time.perf_counter() - start, 2)


def keras_peer(case: Case, package: str) -> Runner:
    """zeromodels or Keras's applications on JAX, with their own initial weights."""
    os.environ["KERAS_BACKEND"] = "jax"
    import jax
    import keras

    depths = {"depths": (3, 3, 9, 3)}
    if package == "keras":
        model = keras.applications.ConvNeXtTiny(
            weights=None, include_preprocessing=False, classifier_activation=None
        )
    elif case.model == "inceptionnext_tiny":
        from zeromodels.models.inception_next import InceptionNextImageClassify

        filters = (96, 192, 384, 768)
        shape = {"num_filters": filters, "band_kernel_size": 11, "branch_ratio": 0.125}
        model = InceptionNextImageClassify(**depths, **shape)
    else:
        from zeromodels.models.convnext import ConvNeXtImageClassify

        model = ConvNeXtImageClassify(**depths)
    x, labels = case.images(), case.labels()
    info = {"parameters": model.count_params()}
    packages = versions("keras", *(["zeromodels"] if package != "keras" else []))
    if case.mode == "infer":

        def apply(trainable, rest, x):
            return model.stateless_call(trainable, rest, x, training=False)[0]

        state = [[v.value for v in variables] for variables in
                 (model.trainable_variables, model.non_trainable_variables)]  # fmt: skip
        on_device = jax.device_put(x)
        compiled, facts = compile_jax(jax.jit(apply), *state, on_device)
        facts["versions"] |= packages
        call = lambda: jax.block_until_ready(compiled(*state, on_device))  # noqa: E731
        return Runner(call, info | facts, common=False)
    model.compile(
        optimizer=keras.optimizers.AdamW(LEARNING_RATE, weight_decay=WEIGHT_DECAY),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    facts = jax_device()
    facts["versions"] |= packages
    return Runner(lambda: float(model.train_on_batch(x, labels)), info | facts, common=False)


def onnxruntime_peer(case: Case) -> Runner:
    """onnxruntime, on PyTorch's own export of timm's network."""
    import onnxruntime
    import torch

    model = torch_model(case).eval()
    x = torch.tensor(case.images().transpose(0, 3, 1, 2)).contiguous()
    file = Path(case.folder) / f"{case.model}.onnx"
    if not file.exists():
        torch.onnx.export(
            model, (torch.zeros(2, *x.shape[1:]),), file,
            dynamo=True, external_data=False, verbose=False,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
        )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1 if case.core is not None else 0
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: x.numpy()}
    info = {"device": "cpu", "layout": "NCHW", "versions": versions("onnxruntime", "torch")}
    return Runner(lambda: session.run(None, inputs)[0], info)


def openvino_peer(case: Case) -> Runner:
    """OpenVINO on the same file, held to float32; its default is bfloat16."""
    import openvino

    onnxruntime_peer(case)  # writes the file
    settings = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": "1"}
    if case.core is not None:
        settings["INFERENCE_NUM_THREADS"] = "1"
    file = Path(case.folder) / f"{case.model}.onnx"
    network = openvino.Core().compile_model(file, "CPU", settings)
    x = np.ascontiguousarray(case.images().transpose(0, 3, 1, 2))
    info = {"device": "cpu", "layout": "NCHW", "versions": versions("openvino")}
    return Runner(lambda: network(x)[0], info)


def upernet() -> Any:
    from benchmarks import upernet  # which imports this module

    return upernet


PEERS: dict[str, Callable[[Case], Runner]] = {
    "ours": lambda case: (upernet().ours if case.is_system else ours)(case),
    "ours, deployed": lambda case: ours(case, deployed=True),
    "ours, grouped convolutions": lambda case: ours(case, depthwise_impl="conv"),
    "ours, scan": lambda case: ours(case, scan=True),
    "timm eager": torch_peer,
    "timm channels-last": lambda case: torch_peer(case, "NHWC"),
    "timm torch.compile": lambda case: torch_peer(case, "NHWC", compiled=True),
    "transformers": lambda case: upernet().transformers_peer(case),
    "transformers channels-last": lambda case: upernet().transformers_peer(case, True),
    "zeromodels": lambda case: keras_peer(case, "zeromodels"),
    "keras.applications": lambda case: keras_peer(case, "keras"),
    "onnxruntime": onnxruntime_peer,
    "openvino": openvino_peer,
}


def make_weights(case: Case) -> None:
    """Writes the common weights: seeded, with none left at a trivial initial 0 or 1."""
    if case.is_system:
        upernet().make_weights(case)
        return
    import torch
    from safetensors.torch import save_file

    from tests.models.oracle import randomise

    torch.manual_seed(0)
    state = randomise(torch_model(case)).state_dict()
    file = Path(case.folder) / f"{case.model}.safetensors"
    save_file({key: value.contiguous() for key, value in state.items()}, file)


def main() -> None:
    case = Case(**json.loads(sys.argv[1]))
    if case.core is not None:
        os.sched_setaffinity(0, {case.core})
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print
    if case.peer == "weights":
        make_weights(case)
        return
    runner = PEERS[case.peer](case)
    result = np.asarray(runner.call(), np.float64)
    head = result.reshape(-1)[:4000].tolist() if runner.common else None
    print(json.dumps({"info": runner.info, "result": head}), file=answers, flush=True)
    for line in sys.stdin:
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(int(line)):
            runner.call()
        seconds = (time.process_time() - cpu, time.perf_counter() - wall)
        print(json.dumps(seconds), file=answers, flush=True)


if __name__ == "__main__":
    main()
