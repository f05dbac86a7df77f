import pytest

import inceptionnext_jax as inx
from inceptionnext_jax.__main__ import main


def test_every_model_has_a_line_with_its_numbers(capsys):
    assert main(["models"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["model", "parameters", "MACs", "pixels", "top-1", "source"]
    assert [line.split()[0] for line in lines] == inx.list_models()
    for line in lines:
        info = inx.model_info(line.split()[0])
        numbers = [f"{info.params:,}", f"{info.macs:,}", str(info.input_size)]
        assert line.split()[1:4] == numbers
        if info.top1 is not None:
            assert f"{100 * info.top1:.1f} %  {info.top1_source}" in line


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
