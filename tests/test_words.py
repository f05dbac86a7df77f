"""The wording of docstrings, as far as a pattern can see it."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "inceptionnext_jax"
MODULES = sorted(PACKAGE.rglob("*.py"))
# A docstring is a noun or verb phrase, and so is the note on an argument or attribute.
OPENING = r"(What|Where|Of|Likewise|Who)\b"
NOTE = re.compile(rf"^ +[\w*, ]+: {OPENING}.*", re.MULTILINE)
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def docstrings(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, DOCUMENTED))
    return [text for text in found if text]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_docstrings_and_notes_begin_with_a_noun_or_a_verb(path):
    texts = docstrings(path)
    openings = [text.splitlines()[0] for text in texts if re.match(OPENING, text)]
    notes = [match[0].strip() for text in texts for match in NOTE.finditer(text)]
    assert not openings + notes
