"""Counts in the papers' conventions, counts.csv, and the page made from it."""

import math

import jax
import pytest

import inceptionnext_jax as inx
from benchmarks import zoo
from inceptionnext_jax.models.counts import FILE, read_counts, write_counts
from inceptionnext_jax.models.macs import count_activations, count_macs
from tests.models.oracle import images, randomised, to_nchw

# With norms as fvcore counts them: B has its printed 14.9 G; the others still round to the printed
# digits, except A.
WITH_NORMS = {
    "inceptionnext_atto": 504_921_440,
    "inceptionnext_tiny": 4_194_591_648,
    "inceptionnext_small": 8_364_348_960,
    "inceptionnext_base": 14_852_627_840,
    "inceptionnext_base_384": 43_636_454_400,
}


def traceable(name):
    model = inx.create_model(name)
    return model.clone(scan=True) if hasattr(model, "scan") else model


@pytest.mark.parametrize("name", WITH_NORMS)
def test_norms_count_as_fvcore_counts_them(name):
    size = inx.model_info(name).input_size
    assert count_macs(traceable(name), size, norms=True) == WITH_NORMS[name]


def test_a_deployed_network_has_fewer_norms_to_count():
    model = inx.create_model("inceptionnext_atto")
    head = 5 * 3 * 320
    deployed = model.clone(is_deployed=True)
    assert count_macs(deployed, 64, norms=True) - count_macs(deployed, 64) == head


@pytest.mark.parametrize(
    ("name", "size"), [("inceptionnext_atto", (70, 97)), ("convnext_atto", (64, 64))]
)
def test_activations_are_the_outputs_of_timms_layers(timm, name, size):
    from torch import nn

    oracle = randomised(timm, name, num_classes=5)
    outputs = []
    for module in oracle.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda _m, _i, out: outputs.append(math.prod(out.shape)))
    oracle(to_nchw(images((1, *size, 3))))
    assert count_activations(inx.create_model(name, num_classes=5), size) == sum(outputs)


@pytest.mark.parametrize(
    ("name", "millions"), [("convnext_atto", 3.81), ("deit_small", 11.95), ("resnet50", 11.11)]
)
def test_activations_are_those_that_timm_prints(name, millions):
    """timm, results/benchmark-infer-amp-nchw-pt240-cu124-rtx3090.csv, column infer_macts."""
    assert round(inx.model_info(name).activations / 1e6, 2) == millions


@pytest.mark.parametrize(
    "name", ["inceptionnext_tiny", "metanext_attn_small_iso", "vanillanet_5", "swin_tiny"]
)
def test_stored_counts_equal_a_trace(name):
    assert read_counts()[name] == zoo.count(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", inx.list_models())
def test_all_stored_counts_equal_a_trace(name):
    assert read_counts()[name] == zoo.count(name)
    jax.clear_caches()


def test_model_info_has_the_stored_counts():
    for name, counts in read_counts().items():
        info = inx.model_info(name)
        assert {key: getattr(info, key) for key in counts._fields} == counts._asdict()


def test_counts_survive_being_written_and_read(tmp_path):
    write_counts(read_counts(), tmp_path / "counts.csv")
    assert (tmp_path / "counts.csv").read_bytes() == FILE.read_bytes()


def test_page_and_stored_counts_are_current():
    hint = "run `python -m benchmarks.zoo` and commit the files it writes"
    assert sorted(read_counts()) == inx.list_models(), hint
    assert zoo.DOCUMENT.read_text() == zoo.markdown(), hint


def test_every_family_on_the_page_has_a_title():
    titles = [line.removeprefix("## ") for line in zoo.markdown().splitlines() if line[:3] == "## "]
    assert set(titles) <= set(zoo.TITLES.values())
    section = zoo.markdown().partition("## T2T-ViT")[2].partition("##")[0]
    assert "`t2t_vit_14`" in section


def test_page_names_every_model_once_and_its_config():
    lines = [line for line in zoo.markdown().splitlines() if line.startswith("| `")]
    assert sorted(line.split("`")[1] for line in lines) == inx.list_models()
    (row,) = (line for line in lines if line.startswith("| `inceptionnext_tiny_band7`"))
    assert row.endswith("| `configs/ablations.py:band7` |")
