"""Imports point one way, and what is declared is what is used."""

import ast
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "selfsup"

GROUND = {"errors", "values", "terminal", "progress"}
"""What anyone may import: they import nothing of ours but each other."""
BASE = {
    "processes", "draws", "clustering", "arithmetic", "recipe", "views", "networks", "memory",
    "clips", "tuples", "tracks",
}  # fmt: skip
"""What methods are made of."""
ALLOWED = {
    "errors": set(),
    "values": set(),
    "terminal": set(),
    "progress": {"terminal"},
    "processes": set(),
    "arithmetic": set(),
    "draws": {"processes"},
    "clustering": {"processes", "arithmetic", *GROUND},
    "memory": set(),
    "recipe": {"errors", "training"},  # training.optimizers, inside a function
    "clips": {"progress"},
    "tuples": {"clips", "draws", "errors"},
    "tracks": {"clips", "trackers", "errors"},
    "trackers": set(),
    "method": {"clips", "networks", "recipe"},
    "methods": {"method", *BASE, *GROUND},
    "views": {"draws", "processes", *GROUND},
    "networks": {"draws", "processes", "clustering", "views", *GROUND},
    "data": {"method", *BASE, *GROUND},
    "run": GROUND,
    "signatures": {"methods", *GROUND},
    "training": {"run", "data", "method", "methods", *BASE, *GROUND},
    "evaluation": {"run", "data", "method", "methods", "training", *BASE, *GROUND},
    "report": {"run", "recipe", "methods", *GROUND},
    "export": {"run", "data", *BASE, *GROUND},
    "advice": {"training", "evaluation", "report", "export", "run", "data", "method", "methods", *BASE, *GROUND},
    "flags": {"run", "signatures", *GROUND},
    "results": {"run", "training", "evaluation", *GROUND},
    "cli": {"commands", "methods", "signatures", "", *GROUND},
    "commands": {"cli", "flags", "signatures", "results", "methods", "recipe", "networks", "", *GROUND},
    "__main__": {"cli"},
    "": {"advice", "data", "evaluation", "export", "networks", "report", "training"},  # __init__: the public names
}
LIGHT = (
    "",
    "cli",
    "commands",
    "flags",
    "signatures",
    "values",
    "terminal",
    "progress",
    "results",
    "errors",
    "recipe",
    "run",
    "methods",
    "report",
    "networks.names",
    "data.images",
    "data.labels",
    "data.scenes.description",
)
"""Modules that must import without torch: the command line needs them, or the report does."""
HEAVY = {"torch", "torchvision", "timm", "sklearn", "scipy", "kornia"}


@cache
def modules() -> dict[str, Path]:
    """Name, below the package, of each of our modules."""
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = file
    return found


@cache
def tree_of(file: Path) -> ast.Module:
    """Parse a file once."""
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def imports(tree: ast.AST, *, at_top: bool = False) -> list[str]:
    """Full names that a module imports; with `at_top`, only those that importing it runs."""
    if at_top:
        return [name for node in _run_at_import(tree) for name in _names(node)]
    return [name for node in ast.walk(tree) for name in _names(node)]


def _run_at_import(node: ast.AST) -> list[ast.AST]:
    found = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        found += [child, *_run_at_import(child)]
    return found


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "find_spec")):
        return [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
    return []


def wrong_directions(module: str, tree: ast.AST) -> list[str]:
    """Imports of a module of ours that point the wrong way."""
    own = module.split(".")[0]
    wrong = []
    for name in imports(tree):
        if name.split(".")[0] == "selfsup":
            part = [*name.split("."), ""][1]
            part = part if (PACKAGE / part).is_dir() or (PACKAGE / f"{part}.py").is_file() else ""
            if part != own and part not in ALLOWED.get(own, set()):
                wrong.append(f"{module} imports {name}")
    return wrong


def heavy_at_import(module: str, heavy: set[str] = HEAVY, seen: set[str] | None = None) -> list[str]:
    """Ways from a module to torch and its like that importing it would take."""
    seen = set() if seen is None else seen
    known = modules()
    if module in seen or module not in known:
        return []
    seen.add(module)
    found = []
    for name in imports(tree_of(known[module]), at_top=True):
        if name.split(".")[0] in heavy:
            found.append(f"{module} imports {name}")
        elif name.split(".")[0] == "selfsup":
            inner = name.split(".")[1:]
            for depth in range(len(inner) + 1):  # importing a.b runs a, then a.b
                found += heavy_at_import(".".join(inner[:depth]), heavy, seen)
    return found


def test_imports_point_one_way():
    known = modules()

    assert {name.split(".")[0] for name in known} <= set(ALLOWED), "a new part needs its place in the table"
    wrong = [line for name, file in known.items() for line in wrong_directions(name, tree_of(file))]
    assert wrong == []


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("methods.rotation", "from selfsup.data import images"),
        ("methods.rotation", "def f():\n    from selfsup.training.loop import train"),
        ("views.crops", "import selfsup.networks.encoders"),
        ("views.crops", "from selfsup import evaluation"),
        ("report.report", "from selfsup.data.images import open_images"),
        ("data.images", "from selfsup.training.loop import train"),
        ("errors", "from selfsup.recipe import Recipe"),
    ],
)
def test_a_planted_import_is_found(module, text):
    assert len(wrong_directions(module, ast.parse(text))) == 1


@pytest.mark.parametrize("module", LIGHT)
def test_what_the_command_line_needs_imports_no_torch(module):
    assert module in modules()
    assert heavy_at_import(module) == []


def test_the_front_door_is_light():
    """Overview and list of methods answer at once: not even the library of the command line is imported for them."""
    assert heavy_at_import("cli", HEAVY | {"cyclopts", "rich", "yaml", "numpy"}) == []
    assert heavy_at_import("commands", {"cyclopts"})


def test_report_never_imports_torch():
    """Not even inside a function: it reads only files."""
    for name, file in modules().items():
        if name.split(".")[0] == "report":
            assert not [i for i in imports(tree_of(file)) if i.split(".")[0] in HEAVY], name


def test_a_planted_torch_is_found():
    planted = "import os\nclass A:\n    import torch\ndef f():\n    import timm\nif TYPE_CHECKING:\n    import torch\n"

    assert imports(ast.parse(planted), at_top=True) == ["os", "torch"]
    assert heavy_at_import("methods.rotation"), "rotation needs torch, so the check must say so"


def test_nothing_is_unpickled():
    """No file of a user can run code: no pickle, no torch.load, no arrays of objects, no unsafe YAML."""
    banned = re.compile(
        r"\bimport pickle|torch\.load\(|allow_pickle=True|yaml\.(load|unsafe_load|full_load)\(|\beval\("
    )
    for file in modules().values():
        assert not banned.search(file.read_text(encoding="utf-8").replace(".eval()", "")), file


def test_declared_dependencies_are_the_used_ones():
    """What the package imports is declared, and nothing else is."""
    names = {
        "yaml": "pyyaml", "PIL": "pillow", "sklearn": "scikit-learn", "direct": "panda3d", "faiss": "faiss-cpu",
        "cv2": "opencv-contrib-python-headless",
    }  # fmt: skip
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.match(r"[\w-]+", line)[0].lower() for line in project["dependencies"]}
    used = {name.split(".")[0] for file in modules().values() for name in imports(tree_of(file))}
    used -= {*sys.stdlib_module_names, "selfsup"}

    assert {names.get(name, name).lower() for name in used} == declared


def test_lock_holds_no_addresses_and_every_dependency():
    """The lock can be installed from any index, and pins all that pyproject asks for."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    pinned = set(re.findall(r"(?m)^([\w.-]+)==", text))

    assert not re.search(r"(?i)://|--index|find-links|\+cu|\+cpu|@", text)
    assert {re.match(r"[\w-]+", line)[0].lower() for line in wanted} <= pinned
    assert all(re.match(r"[\w.-]+>=[\d.]+$", line.split(";")[0].strip()) for line in project["dependencies"])
