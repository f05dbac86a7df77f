"""Untrusted input never runs code or a shell, and never escapes the workdir."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = [*sorted((ROOT / "inceptionnext_jax").rglob("*.py")), ROOT / "main.py",
           *sorted((ROOT / "configs").glob("*.py"))]  # fmt: skip
BANNED_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
BANNED_CALLS = {"eval", "exec", "compile", "system", "popen", "getoutput"}


def calls(tree: ast.AST):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func
            yield node, getattr(name, "id", None), getattr(name, "attr", None)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_pickle_no_eval_no_shell(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        assert not {name.split(".")[0] for name in names} & BANNED_IMPORTS
    for node, name, attribute in calls(tree):
        assert name not in BANNED_CALLS
        assert attribute not in BANNED_CALLS - {"eval", "compile"}  # re.compile, lowered.compile
        for keyword in node.keywords:
            is_true = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
            assert not (keyword.arg in ("shell", "allow_pickle") and is_true)
        if attribute == "load" and getattr(getattr(node.func, "value", None), "id", "") == "np":
            allowed = {keyword.arg: keyword.value for keyword in node.keywords}
            assert isinstance(allowed.get("allow_pickle"), ast.Constant)


def test_names_of_metrics_and_classes_cannot_escape_the_workdir(tmp_path):
    """Classes, and so keys of eval.json, may have any name; file names are fixed."""
    import json

    from inceptionnext_jax.workdir.writers import JsonLines, TensorBoard

    workdir = tmp_path / "run"
    workdir.mkdir()
    names = ["../../outside", "/etc/outside", "a\nb", "\0", "eval/../../x", "🙂"]
    lines, board = JsonLines.open(workdir, 0), TensorBoard.open(workdir, 0)
    for writer in (lines, board):
        for step, name in enumerate(names, 1):
            writer.write(step, {name: 1.0})
        writer.close()
    written = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [name in line for name, line in zip(names, written, strict=True)] == [True] * len(names)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert {path.name for path in workdir.iterdir()} == {"metrics.jsonl", "tensorboard"}
    assert all(path.parent == workdir / "tensorboard" for path in workdir.glob("tensorboard/**/*"))
