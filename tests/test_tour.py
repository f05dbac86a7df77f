"""The notebook runs from its first cell to its last."""

import pytest

import inceptionnext_jax as inx
from inceptionnext_jax.convert import from_torch
from inceptionnext_jax.pretrained import Pretrained
from tests.models.oracle import state
from tests.runs import ROOT

NOTEBOOK = ROOT / "docs/tour.ipynb"


@pytest.mark.slow
def test_the_tour_runs(timm, tmp_path, monkeypatch):
    """With initial weights instead of published ones, which need a network."""
    import nbformat
    import torch
    from nbclient import NotebookClient

    torch.manual_seed(0)
    name = "inceptionnext_atto"
    variables = from_torch(name, state(timm.create_model("inception_next_atto")))
    weights = inx.save_pretrained(tmp_path / "weights", Pretrained(name, variables))
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # one device
    monkeypatch.setenv("TOUR_WEIGHTS", str(weights))
    monkeypatch.setenv("TOUR_OUT", str(tmp_path / "out"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(ROOT)}}).execute()
    printed = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    assert "agrees on 100%" in printed
    accuracy = float(printed.split(" of 359 held-out digits")[0].split()[-1])
    assert accuracy > 0.9, printed
    pictures = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 1


def test_the_tour_is_committed_without_outputs():
    """Outputs would be those of other weights than the reader's."""
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)
