"""Imports go down only: the plan of the house, held."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "poolstudy"

# From the top down: a module imports from its own room and from those below it.
ROOMS = (
    "__main__",
    "cli",
    "checks",
    "study",
    "reproduce",
    "trial",
    "reports",
    "training",
    "figures",
    "network",
    "data",
    "execution",
    "search",
    "tracking",
    "terminal",
    "spec",
    "system",
    "errors",
)
# Who may import a library.
ONLY = {
    "optuna": {"search"},
    "sqlalchemy": {"search", "tracking"},
    "mlflow": {"tracking"},
    "hydra": {"spec"},
    "omegaconf": {"spec"},
    "tensorflow": {"training", "trial", "execution"},
    "pynvml": {"execution"},
    "keras": {"network", "training", "figures", "trial"},
    "matplotlib": {"figures", "reports"},
    "rich": {"cli", "checks", "study", "reproduce", "reports", "terminal"},
    "packaging": {"checks"},
    "jinja2": {"reports"},
    "plotly": {"search", "reports"},
    "h5py": {"network"},
    "requests": {"data", "tracking"},
    "urllib3": {"data"},
    "sklearn": {"data", "trial"},
    "multiprocessing": {"execution"},
}


def imports(tree: ast.AST) -> set[str]:
    """Every module that is imported anywhere in it, inside functions and for types too."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def breaches(room: str, modules: set[str]) -> set[str]:
    """What a room imports that the plan forbids."""
    found = set()
    for module in modules:
        top, _, rest = module.partition(".")
        other = rest.split(".")[0]
        if top == "poolstudy":
            if other in ROOMS and ROOMS.index(other) < ROOMS.index(room):
                found.add(f"{room} imports {other}, which is above it")
        elif room not in ONLY.get(top, {room}):
            found.add(f"{room} imports {top}, which {sorted(ONLY[top])} alone may")
    return found


def rooms() -> list[tuple[str, Path]]:
    paths = (path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
    return [(path.parts[0].removesuffix(".py"), path) for path in paths if path != Path("__init__.py")]


def test_every_room_has_its_place() -> None:
    assert {room for room, _ in rooms()} == set(ROOMS)


@pytest.mark.parametrize(("room", "path"), rooms(), ids=str)
def test_imports_go_down_only(room: str, path: Path) -> None:
    assert breaches(room, imports(ast.parse((PACKAGE / path).read_text()))) == set()


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("data", "from poolstudy.network.build import build_model"),
        ("training", "def f():\n    from poolstudy.trial import tasks"),
        ("training", "import mlflow.entities"),
        ("system", "from poolstudy import spec"),
        ("figures", "import poolstudy.training.train"),
    ],
)
def test_a_breach_is_seen(room: str, source: str) -> None:
    assert len(breaches(room, imports(ast.parse(source)))) == 1
