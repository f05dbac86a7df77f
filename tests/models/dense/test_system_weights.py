"""Weights of systems in the names of mmsegmentation, of the authors and of Hugging Face."""

import jax
import numpy as np
import pytest

import inceptionnext_jax as inx
from inceptionnext_jax.__main__ import main
from inceptionnext_jax.convert import from_torch, read_weights, to_torch
from inceptionnext_jax.convert.load import load_weights
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.models import swin
from inceptionnext_jax.models.names import LINEAR
from inceptionnext_jax.pretrained import load_model
from inceptionnext_jax.pretrained.config_json import save_safetensors
from inceptionnext_jax.pretrained.loading import load_pretrained
from inceptionnext_jax.tasks.segmentation.task import Segmentation
from inceptionnext_jax.train.init_state import below, match
from tests.convert.test_torch_weights import assert_identical, flat
from tests.models.oracle import images, random_variables, randomised, relative_error, state

SMALL = {"channels": 8, "stage_depths": (1, 1, 2, 1)}
LAYOUTS = [
    ("upernet_inceptionnext_atto", "timm"),
    ("upernet_inceptionnext_atto", "mmseg"),
    ("semantic_fpn_inceptionnext_atto", "mmseg"),
    ("upernet_convnext_atto", "timm"),
    ("upernet_convnext_tiny", "mmseg"),
    ("upernet_convnext_tiny", "official"),
    ("upernet_convnext_tiny", "mmpretrain"),
    ("upernet_convnext_tiny", "huggingface"),
    ("upernet_swin_tiny", "timm"),
    ("upernet_swin_tiny", "mmseg"),
    ("upernet_swin_tiny", "official"),
    ("upernet_resnet50", "mmseg"),
    ("semantic_fpn_poolformer_s12", "mmseg"),
    ("semantic_fpn_vanillanet_8", "official"),
]


def variables_of(name, **options):
    model = inx.create_model(name, num_classes=5, **{**SMALL, **options})
    variables = random_variables(model)
    return variables | (
        {"host": jax.tree.map(np.ones_like, variables["host"])} if "host" in variables else {}
    )


@pytest.fixture(scope="module")
def written():
    """The arrays of each system in each layout, and its variables."""
    variables = {name: variables_of(name) for name, _ in LAYOUTS}
    return {
        (name, layout): (to_torch(name, variables[name], layout, **SMALL), variables[name])
        for name, layout in LAYOUTS
    }


@pytest.mark.parametrize("which", LAYOUTS)
def test_variables_survive_conversion_in_both_directions(which, written):
    state_dict, variables = written[which]
    name, layout = which
    found = from_torch(name, state_dict, **SMALL)
    assert_identical(flat(found), flat(variables))
    assert_identical(to_torch(name, found, layout, **SMALL), state_dict)


# Some names of each kind of array in the published checkpoints.
PUBLISHED = {
    ("upernet_convnext_tiny", "mmseg"): [
        "backbone.downsample_layers.0.0.weight", "backbone.downsample_layers.0.1.bias",
        "backbone.downsample_layers.3.0.weight", "backbone.downsample_layers.3.1.weight",
        "backbone.stages.2.1.gamma", "backbone.stages.2.1.dwconv.weight",
        "backbone.stages.2.1.norm.bias", "backbone.stages.2.1.pwconv2.weight",
        "backbone.norm0.weight", "backbone.norm3.bias",
        "decode_head.conv_seg.weight", "decode_head.psp_modules.3.1.conv.weight",
        "decode_head.psp_modules.0.1.bn.running_var", "decode_head.bottleneck.conv.weight",
        "decode_head.lateral_convs.2.bn.weight", "decode_head.fpn_convs.2.conv.weight",
        "decode_head.fpn_bottleneck.bn.num_batches_tracked",
        "auxiliary_head.convs.0.conv.weight", "auxiliary_head.conv_seg.bias",
    ],
    ("upernet_convnext_tiny", "mmpretrain"): [
        "backbone.stages.2.1.depthwise_conv.weight", "backbone.stages.2.1.pointwise_conv1.bias",
        "backbone.stages.2.1.norm.weight", "backbone.stages.2.1.gamma", "backbone.norm2.weight",
    ],
    ("upernet_convnext_tiny", "huggingface"): [
        "backbone.embeddings.patch_embeddings.weight", "backbone.embeddings.layernorm.weight",
        "backbone.encoder.stages.1.downsampling_layer.0.weight",
        "backbone.encoder.stages.1.downsampling_layer.1.bias",
        "backbone.encoder.stages.2.layers.1.layer_scale_parameter",
        "backbone.encoder.stages.2.layers.1.layernorm.weight",
        "backbone.encoder.stages.2.layers.1.pwconv1.weight",
        "backbone.hidden_states_norms.stage4.bias",
        "decode_head.psp_modules.0.1.batch_norm.running_mean", "decode_head.classifier.weight",
        "auxiliary_head.convs.0.batch_norm.weight", "auxiliary_head.classifier.bias",
    ],
    ("upernet_swin_tiny", "mmseg"): [
        "backbone.patch_embed.projection.weight", "backbone.patch_embed.norm.weight",
        "backbone.stages.0.blocks.0.attn.w_msa.relative_position_bias_table",
        "backbone.stages.2.blocks.1.attn.w_msa.qkv.weight",
        "backbone.stages.2.blocks.1.ffn.layers.0.0.weight",
        "backbone.stages.2.blocks.1.ffn.layers.1.bias",
        "backbone.stages.0.downsample.reduction.weight", "backbone.stages.2.downsample.norm.bias",
        "backbone.norm3.weight",
    ],
    ("upernet_swin_tiny", "official"): [
        "backbone.patch_embed.proj.weight", "backbone.layers.0.downsample.reduction.weight",
        "backbone.layers.2.blocks.1.mlp.fc2.weight", "backbone.norm1.weight",
    ],
    ("upernet_resnet50", "mmseg"): [
        "backbone.conv1.weight", "backbone.bn1.running_mean", "backbone.layer3.1.conv2.weight",
        "backbone.layer4.0.downsample.1.running_var",
    ],
    ("semantic_fpn_poolformer_s12", "mmseg"): [
        "backbone.patch_embed.proj.weight", "backbone.network.1.proj.bias",
        "backbone.network.4.1.layer_scale_2", "backbone.network.6.0.mlp.fc1.weight",
        "backbone.network.0.0.norm1.weight", "backbone.norm0.weight", "backbone.norm6.bias",
        "neck.lateral_convs.3.conv.bias", "neck.fpn_convs.0.conv.weight",
        "decode_head.scale_heads.0.0.conv.weight", "decode_head.scale_heads.3.4.bn.weight",
    ],
    ("upernet_inceptionnext_atto", "mmseg"): [
        "backbone.stem.0.weight", "backbone.stages.2.blocks.1.token_mixer.dwconv_hw.weight",
    ],
}  # fmt: skip


@pytest.mark.parametrize("which", PUBLISHED)
def test_names_are_those_of_published_checkpoints(which, written):
    assert not set(PUBLISHED[which]) - set(written[which][0])


def test_swins_merged_patches_equal_an_unfolded_map(timm):
    """mmsegmentation merges patches by `nn.Unfold`, whose channels are the major axis."""
    import torch

    C, x = 6, images((2, 8, 12, 6))
    rules = {rule.ours.rpartition("/")[2]: rule.leaves for rule in swin._MMSEG}
    kernel = np.random.default_rng(0).normal(size=(24, 2 * C)).astype(np.float32)
    theirs = rules["reduction"]["kernel"].to_torch(kernel)
    unfolded = torch.nn.Unfold(2, stride=2)(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
    expected = torch.from_numpy(theirs.copy()) @ unfolded  # [B, 2 C, positions]
    merged = x.reshape(2, 4, 2, 6, 2, C).transpose(0, 1, 3, 4, 2, 5).reshape(2, 24, 4 * C)
    np.testing.assert_allclose(merged @ kernel, expected.numpy().transpose(0, 2, 1), atol=1e-5)
    norm = merged[0, 0]
    np.testing.assert_array_equal(rules["norm"]["scale"].to_torch(norm), unfolded[0, :, 0].numpy())


def test_timms_weights_below_backbone_give_timms_features(timm):
    import torch

    oracle = randomised(timm, "inceptionnext_atto", features_only=True, out_indices=(0, 1, 2, 3))
    name = "upernet_inceptionnext_atto"
    heads = to_torch(name, variables_of(name, stage_depths=None), channels=8)
    backbone = {f"backbone.{k.replace('stages_', 'stages.')}": v for k, v in state(oracle).items()}
    backbone = {k.replace("stem_", "stem."): v for k, v in backbone.items()}
    kept = {key: value for key, value in heads.items() if not key.startswith("backbone.")}
    variables = from_torch(name, {**backbone, **kept}, channels=8)
    model = inx.create_model(name, num_classes=5, channels=8)
    x = images((1, 64, 96, 3))
    found = jax.jit(lambda v: model.apply(v, x, method="features"))(variables)
    with torch.no_grad():
        expected = oracle(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
    for ours, theirs in zip(found, expected, strict=True):
        assert relative_error(ours, theirs.numpy().transpose(0, 2, 3, 1)) < 1e-4


def test_every_mismatch_is_named_at_once(written):
    bad = dict(written["upernet_convnext_tiny", "mmseg"][0])
    del bad["backbone.norm2.weight"], bad["decode_head.fpn_convs.1.bn.bias"]
    bad["decode_head.extra"] = np.zeros(3, np.float32)
    bad["auxiliary_head.convs.0.conv.weight"] = np.zeros((256, 8, 3, 3), np.float32)
    with pytest.raises(UserError) as raised:
        from_torch("upernet_convnext_tiny", bad, **SMALL)
    message = str(raised.value)
    assert "2 missing: " in message
    assert "backbone.norm2.weight" in message
    assert "decode_head.fpn_convs.1.bn.bias" in message
    assert "1 unexpected: decode_head.extra" in message
    assert (
        "auxiliary_head.convs.0.conv.weight (256, 8, 3, 3) instead of (256, 384, 3, 3)" in message
    )


def test_a_layout_that_nobody_has_is_refused_with_the_choices():
    with pytest.raises(UserError, match=r"'huggingface' is not one of this network.*mmseg"):
        to_torch(LAYOUTS[0][0], variables_of(LAYOUTS[0][0]), "huggingface", **SMALL)
    model = inx.create_model("convnext_atto", num_classes=3)
    with pytest.raises(UserError, match=r"'mmseg' is not one of this network.*timm, official"):
        to_torch("convnext_atto", random_variables(model), "mmseg")


def test_classifiers_keep_their_tables():
    rules = {rule.ours: rule.leaves for rule in inx.model_info("swin_tiny").family.naming("timm")}
    assert rules[r"stages_(\d+)/downsample/(reduction)"] is LINEAR


def test_a_plain_file_is_loaded_by_the_systems_name(written, tmp_path):
    state_dict, variables = written["upernet_convnext_tiny", "mmseg"]
    path = tmp_path / "upernet.safetensors"
    save_safetensors(path, state_dict)
    model, found = load_model(path, "upernet_convnext_tiny", **SMALL)
    assert model == inx.create_model("upernet_convnext_tiny", num_classes=5, **SMALL)
    assert_identical(flat(found), flat(variables))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("upernet_convnext_tiny", {"aux_head": False, "channels": 24}),
        ("upernet_convnext_tiny", {"out_norm": "none"}),
        ("upernet_inceptionnext_atto", {"out_norm": "batch"}),
        ("upernet_inceptionnext_atto", {"out_norm": "layer", "aux_head": False}),
        ("semantic_fpn_poolformer_s12", {"channels": 16}),
    ],
)
def test_heads_that_a_bare_file_shows_need_not_be_named(name, options, tmp_path):
    variables, path = variables_of(name, **options), tmp_path / "weights.npz"
    np.savez(path, **to_torch(name, variables, "mmseg", **{**SMALL, **options}))
    loaded = load_pretrained(path, name, stage_depths=SMALL["stage_depths"])
    assert_identical(flat(loaded.variables), flat(variables))
    assert loaded.model == inx.create_model(name, num_classes=5, **{**SMALL, **options})
    found, *_ = load_weights(path, name, SMALL["stage_depths"])
    assert_identical(flat(found), flat(variables))


@pytest.mark.parametrize("layout", ["timm", "official"])
def test_a_classifiers_file_gives_a_system_its_backbone(tmp_path, layout):
    depths = SMALL["stage_depths"]
    model = inx.create_model("convnext_tiny", num_classes=7, stage_depths=depths)
    variables, path = random_variables(model), tmp_path / "weights.npz"
    np.savez(path, **to_torch("convnext_tiny", variables, layout, stage_depths=depths))
    name = "semantic_fpn_convnext_tiny"
    given, *_ = load_weights(path, name, depths)
    assert_identical(flat(given), flat(variables))
    system = inx.create_model(name, num_classes=5, stage_depths=depths)
    wanted = jax.eval_shape(system.init, jax.random.key(0), images((1, 64, 64, 3)))
    found = match(wanted, below("backbone/", given), "x", Segmentation.renewable, "backbone/")
    assert {key.split("/")[1] for key in found.loaded} == {"backbone"}
    assert {key.split("/")[1] for key in found.renewed} == {"neck", "decode_head", "out_norm"}
    assert {key.split("/")[2] for key in found.unused} == {"head"}


def test_a_folder_keeps_the_systems_options(written, tmp_path):
    name = "semantic_fpn_inceptionnext_atto"
    _, variables = written[name, "mmseg"]
    saved = inx.Pretrained(name, variables, SMALL)
    inx.save_pretrained(tmp_path / "folder", saved)
    found = load_pretrained(tmp_path / "folder")
    assert found.model == saved.model
    assert found.preprocessing.image_size == 512
    assert_identical(flat(found.variables), flat(variables))


def test_convert_writes_the_layouts(tmp_path, capsys):
    name = "upernet_convnext_atto"
    model = inx.create_model(name, num_classes=5)
    first, second = tmp_path / "first.safetensors", tmp_path / "second.npz"
    save_safetensors(first, to_torch(name, random_variables(model), "mmseg"))
    arguments = ["--model", name, "--from", str(first), "--to", str(second)]
    assert main(["convert", *arguments, "--layout=huggingface"]) == 0
    assert "in huggingface's names" in capsys.readouterr().out
    assert "backbone.hidden_states_norms.stage1.weight" in read_weights(second)[0]
