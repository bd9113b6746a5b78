"""The rooms meet one way only: imports are read from the source, also inside functions; a back edge fails.

Also: no file over 500 lines, no module called utils, and `import carryover` without torch.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "carryover"

# A room may import from itself and from the levels before its own. Rooms of one level do not know each other.
LEVELS: list[tuple[str, ...]] = [
    ("escaping",),
    ("errors",),
    ("ambient", "forking", "setting"),
    ("progress", "sequence", "devices", "pages"),
    ("storage",),
    ("data",),
    ("kernels",),
    ("layers",),
    ("generation",),
    ("models",),
    ("objectives",),
    ("tasks",),
    ("encoders",),
    ("training",),
    ("pretraining",),
    ("transfer",),
    ("embeddings", "classical", "experiments"),
    ("compare", "bench"),
    ("interop", "inspect"),
    ("serve",),
    ("cli",),
    ("__main__",),
]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
LONGEST = 500
FORBIDDEN_NAMES = {"util", "utils", "helper", "helpers", "misc", "common"}


def read_modules(folder: Path) -> dict[str, str]:
    """Dotted module name → source, for every Python file of the package."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return found


def imports(module: str, source: str, is_package: bool) -> Iterator[tuple[str, int]]:
    """(imported dotted name, line) for every import anywhere in the source, relative and by name included."""
    package = module if is_package else module.rpartition(".")[0]
    tree = ast.parse(source)
    whole = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == "carryover"
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names if alias.name != "carryover")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in whole:
            yield f"carryover.{node.attr}", node.lineno  # `import carryover` reaches every room as an attribute
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.args[0].value, node.lineno


def room_of(module: str) -> str:
    """Second part of a dotted name: `carryover.layers.recurrent.lstm` stands in the room `layers`."""
    return [*module.split("."), ""][1]


def back_edges(modules: Mapping[str, str], public: Mapping[str, str]) -> list[str]:
    """One line for every import that goes against the order of the rooms, or from or to an unknown room.

    `public` tells in which module the names that the package itself hands out are defined.
    """
    packages = {name.rpartition(".")[0] for name in modules}
    wrong = []
    for module, source in modules.items():
        here = room_of(module)
        if not here:
            continue  # the package itself hands out names lazily and imports nothing
        if here not in LEVEL:
            wrong.append(f"{module}: the room {here} has no place in the order")
            continue
        for target, line in imports(module, source, module in packages):
            if target.split(".")[0] != "carryover":
                continue
            there = room_of(target)
            if target.startswith("carryover.") and there in public:
                there = room_of(public[there])
            if there in ("__version__", here):
                continue
            if there not in LEVEL:
                wrong.append(f"{module}:{line}: imports {target}, which stands in no room")
            elif LEVEL[there] >= LEVEL[here]:
                wrong.append(f"{module}:{line}: {here} imports {target}, but {there} does not come before {here}")
    return wrong


def import_circles(modules: Mapping[str, str]) -> list[str]:
    """Groups of modules that import each other at their top level, each as one line."""
    top = {name: _top_level_targets(name, source, modules) for name, source in modules.items()}
    circles = set()
    for start in top:
        reached = _reach(start, top)
        if start in reached:
            circles.add(" ".join(sorted(name for name in reached if name in top and start in _reach(name, top))))
    return sorted(circles)


def _reach(start: str, edges: Mapping[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = list(edges[start])
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += edges[name]
    return reached


def _top_level_targets(module: str, source: str, modules: Mapping[str, str]) -> set[str]:
    tree = ast.parse(source)
    body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    packages = {name.rpartition(".")[0] for name in modules}
    found = set()
    for target, _ in imports(module, ast.unparse(ast.Module(body, [])), module in packages):
        # `from carryover.layers.recurrent.lstm import LSTM` names carryover.layers.recurrent.lstm.LSTM: take the longest part that is a module.
        while target and target not in modules:
            target = target.rpartition(".")[0]
        if target and target != module and not module.startswith(target + ".") and not target.startswith(module + "."):
            found.add(target)
    return found


def oversized(files: Mapping[str, str]) -> list[str]:
    counts = {name: len(text.splitlines()) for name, text in files.items()}
    return [f"{name} has {count} lines, at most {LONGEST} are allowed" for name, count in counts.items() if count > LONGEST]


def badly_named(modules: Mapping[str, str]) -> list[str]:
    return [name for name in modules if FORBIDDEN_NAMES & set(name.lower().strip("_").split("."))]


@pytest.fixture(scope="module")
def modules() -> dict[str, str]:
    return read_modules(SOURCE)


@pytest.fixture(scope="module")
def public() -> dict[str, str]:
    import carryover

    return carryover._PUBLIC


def test_rooms_import_only_what_comes_before_them(modules: dict[str, str], public: dict[str, str]) -> None:
    assert len(modules) > 20, "the package was not found"
    assert back_edges(modules, public) == []


def test_no_modules_import_each_other_in_a_circle(modules: dict[str, str]) -> None:
    assert import_circles(modules) == []


def test_no_file_is_too_long(modules: dict[str, str]) -> None:
    tests = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")}
    assert oversized({**modules, **tests}) == []


def test_no_module_is_a_drawer_for_anything(modules: dict[str, str]) -> None:
    assert badly_named(modules) == []


@pytest.mark.parametrize(
    ("module", "source", "finding"),
    [
        ("carryover.layers.bad", "from carryover.models.bilm import X", "layers imports carryover.models.bilm.X"),
        (
            "carryover.layers.bad",
            "def f():\n    if True:\n        import carryover.transfer.fit",
            "carryover.layers.bad:3",
        ),
        ("carryover.data.bad", "from ..layers import LSTM", "data imports carryover.layers.LSTM"),
        ("carryover.data.bad", "from .. import layers", "data imports carryover.layers"),
        ("carryover.data.bad", "from carryover import compare", "data imports carryover.compare"),
        ("carryover.tasks.bad", "from carryover import load", "tasks imports carryover.load, but encoders"),
        (
            "carryover.tasks.bad",
            "import importlib\nimportlib.import_module('carryover.cli.main')",
            "tasks imports carryover.cli",
        ),
        (
            "carryover.layers.bad",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from carryover.tasks import T",
            ":3:",
        ),
        (
            "carryover.classical.bad",
            "from carryover.embeddings import skipgram",
            "embeddings does not come before classical",
        ),
        ("carryover.compare.bad", "import carryover.interop.onnx", "interop does not come before compare"),
        ("carryover.sequence", "from carryover.storage import atomic_write", "storage does not come before sequence"),
        ("carryover.data.bad", "import carryover as c\nc.compare.run()", "data imports carryover.compare"),
        ("carryover.layers.bad", "import carryover.generation", "generation does not come before layers"),
        ("carryover.kernels.bad", "from carryover.layers import LSTM", "layers does not come before kernels"),
        ("carryover.generation.bad", "from carryover.models import X", "models does not come before generation"),
        ("carryover.attic.thing", "import os", "the room attic has no place in the order"),
        ("carryover.cli.bad", "from carryover.attic import thing", "which stands in no room"),
    ],
)
def test_a_back_edge_is_found(module: str, source: str, finding: str, public: dict[str, str]) -> None:
    found = back_edges({"carryover": "", module: source}, public)
    assert len(found) == 1 and finding in found[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "carryover.layers.good",
            "from carryover.sequence import Sequence\nfrom carryover.layers.base import Layer\nimport torch",
        ),
        ("carryover.layers.good", "from .base import Layer\nfrom . import base"),
        ("carryover.layers", "from .base import Layer"),
        ("carryover.tasks.good", "from carryover import Sequence, __version__"),
        ("carryover.tasks.good", "import carryover\nprint(carryover.__version__, carryover.data)"),
        ("carryover.interop.good", "from carryover.compare.run import compare"),
        ("carryover.cli.main", "from carryover.serve import http\nfrom carryover.inspect import attention"),
    ],
)
def test_a_forward_edge_is_allowed(module: str, source: str, public: dict[str, str]) -> None:
    base = {"carryover.layers.base": ""} if module != "carryover.layers.base" else {}
    assert back_edges({"carryover": "", **base, module: source}, public) == []


def test_a_circle_is_found() -> None:
    modules = {
        "carryover.data.one": "from carryover.data.two import x",
        "carryover.data.two": "from carryover.data import three",
        "carryover.data.three": "import carryover.data.one",
        "carryover.data.four": "import carryover.data.one",
        "carryover.data.five": "def f():\n    from carryover.data import six",
        "carryover.data.six": "from carryover.data.five import f",
    }
    assert import_circles(modules) == ["carryover.data.one carryover.data.three carryover.data.two"]


def test_a_long_file_and_a_bad_name_are_found() -> None:
    assert oversized({"a": "x\n" * 500, "b": "x\n" * 501}) == ["b has 501 lines, at most 500 are allowed"]
    assert badly_named({"carryover.data.utils": "", "carryover.utils.x": "", "carryover.data.formats.opening": ""}) == [
        "carryover.data.utils",
        "carryover.utils.x",
    ]


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, carryover; print(sorted({'torch', 'numpy', 'sklearn', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
