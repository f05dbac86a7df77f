"""Exported files compute the network's logits, on photographs, at any batch size."""

import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

import inceptionnext_jax as inx
from inceptionnext_jax.__main__ import main
from inceptionnext_jax.convert import from_torch
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.export import FORMATS, export
from inceptionnext_jax.export.function import Inference, make_inference
from inceptionnext_jax.export.stablehlo import on_platforms
from inceptionnext_jax.models.network import with_options
from inceptionnext_jax.ops import depthwise
from inceptionnext_jax.pretrained import Preprocessing, Pretrained
from tests.models.oracle import logits_of, random_variables, randomised, state
from tests.runs import environment

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCHES = (1, 3, 8)


def photographs(preprocessing):
    """[8, S, S, 3] uint8."""
    from skimage import data
    from sklearn.datasets import load_sample_image

    pictures = [
        load_sample_image("china.jpg"), load_sample_image("flower.jpg"), data.astronaut(),
        data.chelsea(), data.coffee(), data.rocket(), data.hubble_deep_field(), data.retina(),
    ]  # fmt: skip
    return np.stack([preprocessing.pixels(picture) for picture in pictures])


def normalised(pixels):
    return ((pixels / 255 - np.array(MEAN)) / np.array(STD)).astype(np.float32)


def runner(path):
    """A function from images to logits that uses only the file."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return lambda images: session.run(None, {"images": images})[0]
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    return lambda images: np.asarray(exported.call(images))


def assert_same_logits(found, expected):
    np.testing.assert_allclose(found, expected, atol=1e-4 * max(1, np.abs(expected).max()))
    tops = (np.argsort(-logits, axis=1)[:, :5] for logits in (found, expected))
    np.testing.assert_array_equal(*tops)


def shallow(name="inceptionnext_atto", size=64, num_classes=40):
    stages = len(inx.model_info(name).stage_depths)
    options = {"stage_depths": (1,) * stages}
    variables = random_variables(inx.create_model(name, num_classes=num_classes, **options))
    if name.startswith("vanillanet"):
        variables["host"]["slope"] = np.float32(1)  # otherwise it cannot be merged
    names = tuple(f"class {k}" for k in range(num_classes))
    before = Preprocessing(size, 0.9, "bicubic", MEAN, STD)
    return Pretrained(name, variables, options, before, names, "apache-2.0")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("name", "uint8"),
    [
        ("inceptionnext_atto", True),
        pytest.param("convnext_atto", False, marks=pytest.mark.slow),
        pytest.param("inceptionnext_small_iso", True, marks=pytest.mark.slow),
        pytest.param("metanext_attn_small_iso", True, marks=pytest.mark.slow),
        pytest.param("vanillanet_5", True, marks=pytest.mark.slow),
        pytest.param("resnet50", False, marks=pytest.mark.slow),
        pytest.param("deit_small", False, marks=pytest.mark.slow),
        pytest.param("swin_tiny", True, marks=pytest.mark.slow),
    ],
)
def test_files_compute_the_networks_logits(tmp_path, format, name, uint8):
    network = shallow(name, size=224 if name == "deit_small" else 64)
    run = runner(export(network, tmp_path / "to", format, uint8))
    pixels = photographs(network.preprocessing)
    apply = jax.jit(with_options(network.model, depthwise_impl="conv").apply)
    expected = np.asarray(apply(network.variables, normalised(pixels)))
    for count in BATCHES:
        images = pixels[:count] if uint8 else normalised(pixels[:count])
        assert_same_logits(run(images), expected[:count])
    assert {path.name for path in (tmp_path / "to").iterdir()} == {
        FORMATS[format], "README.md", "classes.txt",
    }  # fmt: skip
    names = (tmp_path / "to/classes.txt").read_text().splitlines()
    assert names == [f"class {k}" for k in range(40)]


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", ["inceptionnext_atto", "inceptionnext_tiny", "convnext_tiny"])
def test_files_of_whole_networks_compute_timms_logits(timm, tmp_path, format, name):
    oracle = randomised(timm, name)
    network = Pretrained(name, from_torch(name, state(oracle)))
    run = runner(export(network, tmp_path, format))
    images = normalised(photographs(network.preprocessing))
    expected = logits_of(oracle, images)
    for count in BATCHES:
        assert_same_logits(run(images[:count]), expected[:count])


@pytest.mark.parametrize("format", FORMATS)
def test_the_readmes_code_runs_without_this_package(tmp_path, format):
    network = shallow()
    to = tmp_path / "to"
    export(network, to, format, uint8=True)
    text = (to / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    pixels = photographs(network.preprocessing)[:2]
    np.save(to / "images.npy", pixels)
    absent = ["flax", "inceptionnext_jax", "torch", "optax", *(["jax"] * (format == "onnx"))]
    script = (
        f"import sys\nfor name in {absent}:\n    sys.modules[name] = None\n"
        f"import numpy as np\nimages = np.load('images.npy')\n{code}\n"
        "np.save('logits.npy', logits)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=to, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    expected = network.model.apply(network.variables, normalised(pixels))
    assert_same_logits(np.load(to / "logits.npy"), np.asarray(expected))
    for part in (
        "[B, 64, 64, 3], any B | uint8 pixels",
        "[B, 40]",
        "short side to 71 pixels, bicubic",
        "## Preprocessing",
        f"jax {jax.__version__}",
        "apache-2.0",
    ):
        assert part in text
    assert "subtract the mean" not in text


def test_the_readme_of_a_float_input_says_how_to_normalise(tmp_path):
    export(shallow(), tmp_path, "onnx")
    text = (tmp_path / "README.md").read_text()
    assert "float32, normalised" in text
    assert "mean (0.485, 0.456, 0.406)" in text


def operations(jaxpr):
    """Names and result types of all operations of a program, in order."""
    found = []
    for eqn in jaxpr.eqns:
        found.append((eqn.primitive.name, [str(var.aval) for var in eqn.outvars]))
        for inner in jaxprs_in_params(eqn.params):
            found += operations(inner)
    return found


@pytest.mark.parametrize(
    "measured",
    [
        depthwise.MEASURED,
        (depthwise.Measured("cpu", 9, "toeplitz"), depthwise.Measured("gpu", 11, "shift")),
    ],
)
def test_stablehlo_takes_the_implementation_of_auto_on_each_platform(monkeypatch, measured):
    """Each platform's branch is the program that `auto` traces on that backend."""
    monkeypatch.setattr(depthwise, "MEASURED", measured)
    depthwise.measured_impl.cache_clear()
    inference = make_inference(shallow(), uint8=True)
    image = jax.ShapeDtypeStruct((2, *inference.image_shape), np.uint8)
    traced = jax.make_jaxpr(lambda x: on_platforms(inference, inference.variables, x))(image)
    (switch,) = [eqn for eqn in traced.eqns if eqn.primitive.name == "cond"]
    branches = {}
    platforms = next(e.params["platforms"] for e in traced.eqns if "platforms" in e.params)
    for names, branch in zip(platforms, switch.params["branches"], strict=True):
        branches |= dict.fromkeys(names, operations(branch.jaxpr))
    logits = inference.function("auto", "auto")
    for platform, backend in (("cpu", "cpu"), ("cuda", "gpu"), ("tpu", "tpu")):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        expected = jax.make_jaxpr(lambda v, x: logits(v, x))(inference.variables, image)
        assert branches[platform] == operations(expected.jaxpr), platform
    depthwise.measured_impl.cache_clear()


@pytest.mark.parametrize("format", FORMATS)
def test_a_function_that_differs_from_the_network_is_not_written(tmp_path, monkeypatch, format):
    monkeypatch.setattr(Inference, "examples", lambda self, count: (np.ones((2, 64, 64, 3), "f4"),))
    reference = Inference.reference
    monkeypatch.setattr(Inference, "reference", lambda self, x: reference(self, x) + 0.01)
    with pytest.raises(UserError, match="differs from the network"):
        export(shallow(), tmp_path / "to", format)
    assert not (tmp_path / "to").exists()


def test_an_operation_that_onnx_lacks_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"deit_small at 64 pixels has .*take --format stablehlo"):
        export(shallow("deit_small"), tmp_path / "to", "onnx")
    assert not (tmp_path / "to").exists()


def test_command_exports_and_mistakes_are_one_line(tmp_path, capsys, monkeypatch):
    saved = inx.save_pretrained(tmp_path / "saved", shallow())
    command = ["export", str(saved), "--format", "onnx", "--to"]
    assert main([*command, str(tmp_path / "to"), "--uint8"]) == 0
    assert re.search(r"to/model\.onnx: \d+\.\d MB, checked", capsys.readouterr().out)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for arguments, message in (
        ([*command, str(tmp_path / "file")], "is a file"),
        ([*command, str(tmp_path / "none")], "pip install -e '.[onnx]'"),
        (["export", str(saved), "--format", "stablehlo", "--to", str(tmp_path / "to")],
         "holds model.onnx of another export"),
    ):  # fmt: skip
        assert main(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert message in line
    assert not (tmp_path / "none").exists()


def test_graphs_have_the_patterns_that_runtimes_are_fast_with(tmp_path):
    """Without them onnxruntime is slower than on timm's export: a transposition around each
    convolution, biases added afterwards, channels sliced one part at a time."""
    import onnx

    graph = onnx.load(export(shallow(), tmp_path, "onnx")).graph
    kinds = [node.op_type for node in graph.node]
    convs = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convs) == 4 + 4 * (3 + 2)
    assert all(len(node.input) == 3 for node in convs)
    assert (kinds.count("Split"), kinds.count("Gelu"), kinds.count("Slice")) == (4, 5, 0)
    constants = {tensor.name for tensor in graph.initializer}
    transposes = [n for n in graph.node if n.op_type == "Transpose" and n.input[0] not in constants]
    assert len(transposes) == 2  # the image, and the last map for the head
    assert constants <= {name for node in graph.node for name in node.input}
