"""Imports go down only: the plan of the house, held."""

import ast
from collections import Counter
from collections.abc import Iterator
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


# Size


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_a_newcomer_sees_few_doors() -> None:
    assert len([path for path in PACKAGE.iterdir() if path.name != "__pycache__"]) <= 20


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    assert [node.name for node in functions if (node.end_lineno or 0) - node.lineno >= 50] == []


# Words


def definitions(tree: ast.Module) -> Iterator[str]:
    """Yield the public names that a module defines at its top level."""
    for node in tree.body:
        names = []
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
        yield from (name for name in names if not name.startswith("_"))


def test_no_public_name_of_the_package_means_two_things() -> None:
    defined = Counter(name for path in sources() for name in set(definitions(ast.parse(path.read_text()))))
    assert [name for name, times in defined.items() if times > 1] == []


NO_VERBS = """
a an all any another as at both by each every few for from half how in it its just many more most no nothing of on one
only other some such that the their these they this those to two what when where whether which who whose why with
"""


def test_a_functions_docstring_starts_with_a_verb() -> None:
    """As far as a list of words can tell; ruff's D401 holds that the verb is in the imperative mood."""
    wrong = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef):
                continue
            is_property = any(
                getattr(one, "id", getattr(one, "attr", "")).endswith("property") for one in node.decorator_list
            )
            first = (ast.get_docstring(node) or "Do").split()[0].lower().strip(":,`")
            if not is_property and first in NO_VERBS.split():
                wrong.append(f"{path.relative_to(PACKAGE)}: {node.name}")
    assert wrong == []
