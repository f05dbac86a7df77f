"""The registry: names, options, published facts and exact counts."""

import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inceptionnext_jax import create_model, list_models, model_info
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models.macs import count_macs, count_params
from inceptionnext_jax.models.registry import register_model

# Parameters and multiply-accumulates at the native size, counted in PyTorch on the authors' models.
COUNTS = {
    "inceptionnext_atto": (224, 4_156_520, 503_035_040),
    "inceptionnext_tiny": (224, 28_055_680, 4_188_634_272),
    "inceptionnext_small": (224, 49_374_016, 8_355_682_080),
    "inceptionnext_base": (224, 86_672_136, 14_841_072_000),
    "inceptionnext_base_384": (384, 86_672_136, 43_602_524_160),
    "convnext_atto": (224, 3_695_520, 547_332_480),
    "convnext_tiny": (224, 28_589_128, 4_455_531_264),
    "convnext_small": (224, 50_223_688, 8_683_712_256),
    "convnext_base": (224, 88_591_464, 15_354_729_472),
    "convnext_large": (224, 197_767_336, 34_361_433_600),
    "convnext_xlarge": (224, 350_196_968, 60_921_030_656),
    "inceptionnext_tiny_no_hband": (224, 28_045_744, 4_185_684_864),
    "inceptionnext_tiny_no_vband": (224, 28_045_744, 4_185_684_864),
    "inceptionnext_tiny_no_square": (224, 28_047_400, 4_186_221_120),
    "inceptionnext_tiny_sequential": (224, 28_055_680, 4_188_634_272),
    "inceptionnext_tiny_band7": (224, 28_049_056, 4_186_489_248),
    "inceptionnext_tiny_band9": (224, 28_052_368, 4_187_561_760),
    "inceptionnext_tiny_band13": (224, 28_058_992, 4_189_706_784),
    "inceptionnext_tiny_ratio4": (224, 28_083_832, 4_196_946_240),
    "inceptionnext_tiny_ratio16": (224, 28_041_604, 4_184_478_288),
    "convnext_tiny_k5": (224, 28_430_152, 4_404_050_688),
    "convnext_tiny_k3": (224, 28_324_168, 4_369_730_304),
    "convnext_tiny_k3_par2": (224, 28_291_048, 4_360_077_696),
    "convnext_tiny_k3_par3_8": (224, 28_282_768, 4_357_664_544),
    "convnext_tiny_k3_par4": (224, 28_274_488, 4_355_251_392),
    "convnext_tiny_k3_par8": (224, 28_266_208, 4_352_838_240),
    "convnext_tiny_k3_par16": (224, 28_262_068, 4_351_631_664),
    "inceptionnext_small_iso": (224, 21_992_488, 4_225_234_560),
    "inceptionnext_base_iso": (224, 86_451_304, 16_774_065_408),
    "convnext_small_iso": (224, 22_308_712, 4_286_367_744),
    "convnext_base_iso": (224, 87_083_752, 16_896_331_776),
    "convnext_large_iso": (224, 305_942_504, 59_699_224_576),
    "metanext_attn_small_iso": (224, 21_965_416, 4_219_984_896),
    "metanext_pool_small_iso": (224, 21_963_112, 4_219_984_896),
    "metanext_identity_small_iso": (224, 21_963_112, 4_219_984_896),
}
# Models with weights released by the authors.
RELEASED = [name for name in COUNTS if "_tiny_" not in name and not name.endswith("_iso")]


@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_exact(name):
    size, params, macs = COUNTS[name]
    model, info = create_model(name, scan=True), model_info(name)  # scans are traced faster
    assert (info.input_size, info.params, info.macs) == (size, params, macs)
    assert count_params(model) == params
    assert count_macs(model, size) == macs


def test_loops_and_recomputation_count_alike():
    plain = create_model("inceptionnext_tiny")
    assert count_params(plain) == COUNTS["inceptionnext_tiny"][1]
    for model in (plain, plain.clone(scan=True, remat=True)):
        assert count_macs(model, 224) == COUNTS["inceptionnext_tiny"][2]


def test_attention_counts_its_products_when_asked_to():
    model = create_model("metanext_attn_small_iso")
    tokens, dim, blocks = 196, 384, 12
    extra = count_macs(model, 224, attention=True) - count_macs(model, 224)
    assert extra == blocks * 2 * tokens**2 * dim


@pytest.mark.parametrize(
    ("name", "dim", "depth"), [("small", 384, 18), ("base", 768, 18), ("large", 1024, 36)]
)
def test_isotropic_counts_follow_from_their_layers(name, dim, depth):
    block = 49 * dim + 8 * dim**2
    macs = 196 * (3 * 16**2 * dim + depth * block) + 1000 * dim
    assert COUNTS[f"convnext_{name}_iso"][2] == macs


def test_macs_of_a_non_square_image_scale_with_its_area():
    model = create_model("inceptionnext_atto")
    head = 320 * 960 + 960 * 1000
    square, wide = count_macs(model, 64), count_macs(model, (64, 128))
    assert wide - head == 2 * (square - head)


def test_names_are_listed_sorted_and_by_glob():
    assert list_models() == sorted(list_models())
    assert set(COUNTS) <= set(list_models())
    assert list_models("inceptionnext_base*") == [
        "inceptionnext_base", "inceptionnext_base_384", "inceptionnext_base_iso",
    ]  # fmt: skip
    assert list_models("nothing*") == []


@pytest.mark.parametrize("name", list_models())
def test_info_is_complete_and_frozen(name):
    info = model_info(name)
    assert info.name == name
    assert (info.top1 is None) == (info.top1_source == "")
    if info.top1 is not None:
        assert 0 < info.top1 < 1
        assert "reported" in info.top1_source
    if name in RELEASED:
        assert info.weights_url.startswith("https://")
        assert name.removesuffix("_384") in info.weights_url
        assert info.licence
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.top1 = 1.0


# Of ConvNeXt's and InceptionNeXt's tables, beside those of `top1`.
OTHER_REPORTS = {
    "convnext_base": (0.851, 0.858, 0.868),
    "convnext_large": (0.855, 0.866, 0.875),
    "convnext_xlarge": (0.878,),
    "resnet50": (0.784,),
    "regnety_4g": (0.800,),
    "regnety_8g": (0.817,),
    "regnety_16g": (0.829,),
    "roadmap_13_convnext_tiny": (0.820,),
    "swin_base": (0.852,),
    "swin_base_384": (0.864,),
    "vit_base_384": (0.840,),
}


def test_second_reported_accuracies_name_source_and_weights(capsys):
    from inceptionnext_jax.__main__ import main

    found = {name: model_info(name).other_reports for name in list_models()}
    accuracies = {name: tuple(report.top1 for report in found[name]) for name in found}
    assert {name: values for name, values in accuracies.items() if values} == OTHER_REPORTS
    for report in (report for reports in found.values() for report in reports):
        assert report.source.startswith("reported by the paper of ")
        assert report.weights
    assert main(["models", "--details", "regnety_8g"]) == 0
    assert "81.7 % (RegNet's own, of pycls; reported by the paper of ConvNeXt)" in (
        capsys.readouterr().out
    )


def test_preprocessing_of_the_released_weights():
    crops = {name: model_info(name).crop_pct for name in COUNTS}
    others = {"inceptionnext_base": 0.95, "inceptionnext_base_384": 1.0}
    assert crops == dict.fromkeys(COUNTS, 0.875) | others


@pytest.mark.parametrize("function", [create_model, model_info])
def test_unknown_name_suggests(function):
    with pytest.raises(UserError, match=r"'inceptionnext_tny'.*did you mean inceptionnext_tiny"):
        function("inceptionnext_tny")


def test_unknown_option_suggests():
    with pytest.raises(UserError, match=r"'drop_path'.*did you mean drop_path_rate"):
        create_model("inceptionnext_atto", drop_path=0.1)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("num_classes", 0),
        ("num_classes", 10.0),
        ("num_classes", True),
        ("drop_path_rate", 1.0),
        ("drop_path_rate", -0.1),
        ("drop_path_rate", float("nan")),
        ("drop_path_rate", None),
        ("dropout_rate", "0.1"),
        ("bn_group_size", -1),
        ("bn_group_size", None),
        ("remat", "yes"),
        ("remat", None),
        ("scan", 1),
        ("depthwise_impl", "fast"),
        ("stage_depths", (1, 1, 1)),
        ("stage_depths", (1, 1, 1, 0)),
        ("stage_depths", 3),
        ("output_stride", 4),
        ("output_stride", None),
        ("head_init_scale", 0.0),
        ("token_mixer", "incepton"),
        ("norm", "btach"),
        ("head", "mpl"),
        ("kernel_size", 4),
        ("mixer_ratio", 1.5),
        ("layer_scale_init", -1e-6),
        ("dtype", "bflot16"),
        ("dtype", jnp.int32),
        ("dtype", None),
        ("dtype", "float64"),  # needs JAX's 64-bit mode
    ],
)
def test_values_out_of_range_are_refused_by_name(option, value):
    with pytest.raises(UserError, match=option):
        create_model("inceptionnext_atto", **{option: value})


def test_an_unknown_policy_of_recomputation_is_refused_with_the_choices():
    with pytest.raises(UserError, match=r"'dost'.*False, True, full, dots, mixer.*mean dots"):
        create_model("resnet50", remat="dost")


@pytest.mark.parametrize("dtype", ["bfloat16", jnp.bfloat16, jnp.dtype("bfloat16")])
def test_dtype_may_be_spelled_as_name_or_type(dtype):
    assert create_model("inceptionnext_atto", dtype=dtype).dtype == jnp.bfloat16


def test_models_are_equal_and_hashable_when_their_options_are():
    first, second = (create_model("inceptionnext_atto", stage_depths=[1, 1, 1, 1]) for _ in "ab")
    assert first == second
    assert hash(first) == hash(second)


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="twice"):
        register_model(model_info("inceptionnext_atto"), lambda **_: None)


def test_import_is_light():
    code = (
        "import sys, inceptionnext_jax as inx; inx.create_model('inceptionnext_atto');"
        "from jax._src import xla_bridge;"
        "heavy = {'torch', 'tensorflow', 'optax', 'orbax', 'grain', 'cv2'} & set(sys.modules);"
        "print(sorted(heavy), xla_bridge.backends_are_initialized(), inx.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "False", "0.1.0"]


@pytest.mark.parametrize("name", list_models())
def test_every_model_runs_on_small_images(name):
    depths = [1 for _ in model_info(name).stage_depths]
    model = create_model(name, num_classes=7, stage_depths=depths)
    x = np.zeros((2, 32, 32, 3), np.float32)
    logits, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), x)
    assert logits.shape == (2, 7)
    assert logits.dtype == jnp.float32
    assert set(variables) <= {"params", "batch_stats", "host"}
