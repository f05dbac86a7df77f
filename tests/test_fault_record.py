"""The record of benchmarks/faults.py: what docs/reliability.md says of it is what it holds."""

import json

import pytest

from benchmarks import faults
from tests.runs import ROOT


@pytest.fixture(scope="module")
def entries():
    return [json.loads(line) for line in faults.RECORD.read_text().splitlines()]


def test_the_document_holds_the_records_own_table(entries):
    assert faults.table(entries) in (ROOT / "docs" / "reliability.md").read_text()


def test_every_recorded_life_ended_with_the_bits_of_an_unbroken_run(entries):
    lives = [entry for entry in entries if entry["kind"] == "life"]
    kills = [kill for life in lives for kill in life["kills"]]
    assert len(kills) >= 200
    for life in lives:
        assert life["identical"], life
        assert life["same_lines"], life
        assert life["problems"] == []
    assert {kill["moment"] for kill in kills} == set(faults.MOMENTS)
    assert {life["processes"] for life in lives} == {1, 2, 4}
    assert len({life["number"] for life in lives}) == len(lives)
    assert all(kill["resumed"] in (None, kill["committed"]) for kill in kills)
