"""The rooms of the package: imports point down only, and heavy packages stay out of the way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "inceptionnext_jax"
# From the top down: a module may import from its own room and from rooms below it.
ROOMS = [
    "cli",
    "tasks",
    "explain",
    "export",
    "train",
    "pretrained",
    "convert",
    "checkpoints",
    "workdir",
    "runtime",
    "models",
    "augment",
    "data",
    "ops",
]
BESIDE = {"explain", "export", "convert"}  # users of models; they know nothing of training
BANNED = {"torch", "tensorflow", "timm", "torchvision"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path, nested: bool) -> set[str]:
    """Dotted names that a file imports: at module level, or anywhere if `nested`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if nested else tree.body
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(dotted: str) -> str | None:
    parts = dotted.split(".")
    return (
        parts[1] if parts[0] == "inceptionnext_jax" and parts[1:2] and parts[1] in ROOMS else None
    )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_point_down_only(path):
    own = path.relative_to(PACKAGE).parts[0]
    if own not in ROOMS:
        return  # the package's door and its errors belong to no room
    for name in imports(path, nested=True):
        other = room(name)
        if other is None or other == own:
            continue
        assert ROOMS.index(other) > ROOMS.index(own), f"{own} imports {name} from above"
        assert not {own, other} <= BESIDE, f"{own} imports {name} from beside"


@pytest.mark.parametrize("path", [*MODULES, ROOT / "main.py", *(ROOT / "configs").glob("*.py")],
                         ids=lambda path: str(path.relative_to(ROOT)))  # fmt: skip
def test_no_torch_or_tensorflow_at_module_level(path):
    assert not {name.split(".")[0] for name in imports(path, nested=False)} & BANNED


def test_data_know_nothing_of_jax():
    for path in (PACKAGE / "data").glob("*.py"):
        assert not {n.split(".")[0] for n in imports(path, nested=True)} & {"jax", "flax"}, path


def test_importing_the_package_loads_jax_and_flax_only():
    code = (
        "import sys, inceptionnext_jax; print([name for name in ('torch', 'tensorflow', 'grain', "
        "'tensorflow_datasets', 'orbax.checkpoint.checkpoint_manager', 'cv2', 'matplotlib', "
        "'ml_collections') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_modules_and_configs_stay_short():
    long = {str(p): n for p in MODULES if (n := len(p.read_text().splitlines())) > 400}
    assert not long
    assert len((ROOT / "main.py").read_text().splitlines()) < 80
