"""Imports go down only: the plan of the house, held."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "poolstudy"

FLOORS = {
    "errors": 0, "files": 0, "lock": 0, "space": 0, "records": 0, "sources": 0, "download": 0,
    "chatter": 0, "provenance": 0, "colours": 0, "weights": 0, "cost": 0, "garbage": 0,
    "config": 1, "data": 1, "model": 1, "claim": 1, "comparison": 1, "staging": 1, "nvml": 1, "estimate": 1,
    "compose": 2, "training": 2, "figures": 2, "search": 2, "tracking": 2, "execution": 2, "display": 2,
    "progress": 2, "dashboard": 2, "terminal": 2, "environment": 2,
    "interrupt": 2, "gpus": 2, "diagnosis": 2, "pages": 2,
    "preloaded": 3, "worker": 3,
    "devices": 4, "places": 4, "drawing": 4, "delivery": 4, "ledger": 4, "outlook": 5,
    "coordinator": 5,
    "study": 6, "ui": 6, "show": 6, "check": 6, "reproduce": 6, "compare": 6, "report": 6,
    "doctor": 7,
    "cli": 8,
    "__main__": 9,
}  # fmt: skip
# Within floor 0 there is an order as well.
GROUND = [
    "errors",
    "files",
    "lock",
    "space",
    "records",
    "cost",
    "sources",
    "download",
    "chatter",
    "provenance",
    "colours",
    "weights",
    "garbage",
]
ONLY = {
    "optuna": {"search"},
    "sqlalchemy": {"search", "tracking"},
    "mlflow": {"tracking"},
    "hydra": {"compose"},
    "omegaconf": {"compose"},
    "tensorflow": {"training", "environment", "gpus"},
    "pynvml": {"nvml"},
    "keras": {"model", "training", "figures", "environment"},
    "matplotlib": {"figures"},
    "rich": {"display", "progress", "terminal", "study", "show", "check", "reproduce", "doctor", "cli"},
    "packaging": {"check"},
    "jinja2": {"pages"},
    "plotly": {"search", "report"},
    "h5py": {"weights"},
    "requests": {"download", "tracking"},
    "urllib3": {"download"},
    "sklearn": {"data", "worker"},
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
    """What a room imports that its floor forbids."""
    found = set()
    for module in modules:
        top, _, rest = module.partition(".")
        other = rest.split(".")[0]
        if top == "poolstudy" and other in FLOORS and other != room:
            same_ground = room in GROUND and other in GROUND and GROUND.index(other) < GROUND.index(room)
            if FLOORS[other] >= FLOORS[room] and not same_ground:
                found.add(f"{room} (floor {FLOORS[room]}) imports {other} (floor {FLOORS[other]})")
        elif room not in ONLY.get(top, {room}):
            found.add(f"{room} imports {top}, which {sorted(ONLY[top])} alone may")
    return found


def rooms() -> list[tuple[str, Path]]:
    paths = (path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
    return [(path.parts[0].removesuffix(".py"), path) for path in paths if path != Path("__init__.py")]


def test_every_room_has_a_floor() -> None:
    assert {room for room, _ in rooms()} == set(FLOORS)


@pytest.mark.parametrize(("room", "path"), rooms(), ids=str)
def test_imports_go_down_only(room: str, path: Path) -> None:
    assert breaches(room, imports(ast.parse((PACKAGE / path).read_text()))) == set()


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("data", "from poolstudy.model import build_model"),
        ("training", "def f():\n    from poolstudy.tracking import Tracker"),
        ("training", "import mlflow.entities"),
        ("space", "from poolstudy import records"),
        ("figures", "import poolstudy.training"),
    ],
)
def test_a_breach_is_seen(room: str, source: str) -> None:
    assert len(breaches(room, imports(ast.parse(source)))) == 1
