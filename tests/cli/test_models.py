import pytest

import inceptionnext_jax as inx
from inceptionnext_jax.__main__ import main


def test_every_model_has_a_line_with_its_numbers(capsys):
    assert main(["models"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == (
        ["model", "parameters", "MACs", "activations", "pixels", "top-1", "source"]
    )
    assert [line.split()[0] for line in lines] == inx.list_models()
    for line in lines:
        info = inx.model_info(line.split()[0])
        if info.params is None:  # another test's, from outside the package
            continue
        numbers = [f"{n:,}" for n in (info.params, info.macs, info.activations)]
        assert line.split()[1:5] == [*numbers, str(info.input_size)]
        if info.top1 is not None:
            before, _, after = line.partition(" %  ")
            assert after == info.top1_source
            assert float(before.split()[-1]) == pytest.approx(100 * info.top1, abs=1e-9)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("inceptionnext_base*", ["inceptionnext_base", "inceptionnext_base_384"]),
        ("next_atto", ["inceptionnext_atto"]),
    ],
)
def test_pattern_is_a_glob_or_a_part_of_the_name(pattern, names, capsys):
    assert main(["models", pattern]) == 0
    found = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert set(names) <= set(found)
    assert all(pattern.strip("*") in name for name in found)


def test_details_name_weights_and_licence(capsys):
    assert main(["models", "--details", "inceptionnext_tiny"]) == 0
    out = capsys.readouterr().out
    info = inx.model_info("inceptionnext_tiny")
    for value in (info.weights_url, info.licence, info.hub_id, f"{info.params:,}", "82.3 %"):
        assert value in out


def test_details_have_the_counts_of_attention(capsys):
    assert main(["models", "--details", "metanext_attn_small_iso"]) == 0
    lines = dict(
        line.split(None, 1) for line in capsys.readouterr().out.splitlines() if " " in line
    )
    assert lines["macs"] == "4,219,984,896"
    assert lines["macs_of_attention"] == "354,041,856"
    assert lines["activations"] == "11,873,896"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inceptionnext_tiyn"], "did you mean inceptionnext_tiny"),
        (["--details", "inceptionnext_tiyn"], "did you mean inceptionnext_tiny"),
    ],
)
def test_unknown_names_are_one_line_with_a_suggestion(arguments, message, capsys):
    assert main(["models", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_systems_are_listed_when_asked_for_at_the_papers_size(capsys):
    assert main(["models", "upernet_inceptionnext_tiny"]) == 0
    header, line, *_ = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["model", "parameters"]
    assert line.split()[:3] == ["upernet_inceptionnext_tiny", "56,395,460", "932,838,801,408"]
    assert line.split()[-1] == "512×2048"
    assert main(["models", "semantic_fpn"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert names == inx.list_models("semantic_fpn_*")
    assert main(["models", "--details", "semantic_fpn_convnext_tiny"]) == 0
    assert "512, 512" in capsys.readouterr().out
    assert main(["models", "upernet_inceptionnext_tiyn"]) == 2
    assert "did you mean upernet_inceptionnext_tiny" in capsys.readouterr().err


def test_detectors_are_listed_with_both_forms_of_vanillanet(capsys):
    assert main(["models", "mask_rcnn_convnext_tiny"]) == 0
    table = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert table["cascade_mask_rcnn_convnext_tiny"][1] == "85,930,578"
    assert table["mask_rcnn_convnext_tiny"][1:3] == ["48,095,376", "261,903,600,640"]
    assert table["mask_rcnn_convnext_tiny"][-1] == "800×1280"
    assert main(["models", "--details", "retinanet_vanillanet_5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    details = dict(line.split(None, 1) for line in lines if len(line.split()) > 1)
    assert int(details["deploy_params"].replace(",", "")) < int(details["params"].replace(",", ""))
