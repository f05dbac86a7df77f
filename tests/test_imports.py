"""The rooms of the package: imports point down only, and heavy packages are imported late."""

import ast
import functools
import graphlib
import subprocess
import sys
from collections.abc import Iterator
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
BELOW = sorted(set(PACKAGE.glob("*.py")) - {PACKAGE / "__init__.py", PACKAGE / "__main__.py"})


def dotted(path: Path) -> str:
    """A module's name, such as inceptionnext_jax.data.folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def statements(node: ast.AST, nested: bool) -> Iterator[ast.AST]:
    """All nodes that run; those in functions only if `nested`, those for type checkers never."""
    for child in ast.iter_child_nodes(node):
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        elif nested or not is_function:
            yield child
            yield from statements(child, nested)


@functools.cache
def imports(path: Path, nested: bool) -> set[str]:
    """Dotted names that a file imports: when it is imported itself, or ever if `nested`."""
    names = set()
    for node in statements(ast.parse(path.read_text(encoding="utf-8")), nested):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{path} has a relative import"
            assert not node.level, f"{path} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_modules(path: Path) -> set[str]:
    """Modules of the package that a file ever imports: of a name in a module, that module."""
    names = {dotted(module) for module in MODULES}
    found = set()
    for name in imports(path, nested=True):
        while name and name not in names:
            name = name.rpartition(".")[0]
        found.add(name)
    return found - {""}


def room(name: str) -> str | None:
    """The room of a dotted name; None for a module below the rooms, or of another package."""
    package, _, rest = name.partition(".")
    first = rest.split(".")[0]
    return first if package == PACKAGE.name and first in ROOMS else None


def test_every_folder_is_a_room():
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} <= set(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_point_down_only(path):
    own = room(dotted(path))
    if own is None:
        return  # the package itself and its command line; BELOW has a test of its own
    for name in imported_modules(path):
        other = room(name)
        if other is None or other == own:
            continue
        assert ROOMS.index(other) > ROOMS.index(own), f"{own} imports {name} from above"
        assert not {own, other} <= BESIDE, f"{own} imports {name} from beside"


@pytest.mark.parametrize("path", BELOW, ids=lambda path: path.name)
def test_modules_below_the_rooms_import_no_room(path):
    assert not [name for name in imported_modules(path) if room(name)]


@pytest.mark.parametrize("path", sorted((PACKAGE / "tasks").glob("*/*.py")), ids=dotted)
def test_no_task_imports_another(path):
    others = {package.name for package in (PACKAGE / "tasks").iterdir() if package.is_dir()}
    others.discard(path.parent.name)
    for name in imported_modules(path):
        task = name.split(".")[2:3] if room(name) == "tasks" else []
        assert not set(task) & others, f"{dotted(path)} imports {name}"


def test_no_module_imports_itself_through_others():
    graph = {dotted(path): imported_modules(path) for path in MODULES}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle of imports: {' ← '.join(error.args[1])}")


@pytest.mark.parametrize("path", [*MODULES, ROOT / "main.py", *(ROOT / "configs").glob("*.py")],
                         ids=lambda path: str(path.relative_to(ROOT)))  # fmt: skip
def test_no_torch_or_tensorflow_at_module_level(path):
    assert not {name.split(".")[0] for name in imports(path, nested=False)} & BANNED


def test_data_do_not_import_jax():
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
