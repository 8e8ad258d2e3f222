"""The package keeps its own rules: imports point up, names are unique, files are short, the docs are complete."""

from __future__ import annotations

import ast
import doctest
import importlib
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from tests.conftest import ROOT

PACKAGE = ROOT / "src" / "estimator"
# Files that a person opens to read; the longest and the shortest that may stand alone.
MOST_LINES, FEW_LINES = 400, 40
MOST_FUNCTION_LINES = 60
# What the base install brings: modules that import more at the top may be imported inside a function.
BASE_PACKAGES = frozenset(
    {"click", "fastapi", "fastapi_offline", "httptools", "jinja2", "msgspec", "numpy", "onnxruntime", "pydantic",
     "starlette", "uvicorn", "uvloop", "annotated_types", "typing_extensions", "pydantic_core", "markupsafe"}
)  # fmt: skip


@cache
def files() -> Mapping[str, Path]:
    """Return module name -> file, of every module of the package."""
    named = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ("estimator", *path.relative_to(PACKAGE).with_suffix("").parts)
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(files()[name].read_text())


def own_imports(name: str, node: ast.AST) -> Iterator[str]:
    """Yield our own modules that a node imports, whatever it is for."""
    if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "estimator":
        for alias in node.names:
            module = f"{node.module}.{alias.name}"
            yield module if module in files() else node.module
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in files())


@cache
def imports(name: str) -> frozenset[str]:
    """Return all of our own modules that a module imports: at the top, inside functions and for types."""
    return frozenset(found for node in ast.walk(tree(name)) for found in own_imports(name, node)) - {name}


def rooms() -> list[str]:
    """Return the rooms in the order in which docs/architecture.md lists them."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    listing = text.split("## The rooms, in the order of a model's life")[1].split("```")[1]
    return [line.split()[0] for line in listing.strip().splitlines()]


def room_of(name: str) -> str:
    return name.split(".")[1]


def test_the_list_of_rooms_is_complete():
    names = {room_of(name) for name in files() if "." in name} - {"__main__"}
    assert sorted(rooms()) == sorted(names)


def test_imports_point_up_the_list_of_rooms():
    order = {room: position for position, room in enumerate([*rooms(), "__main__"])}
    down = [
        f"{name} imports {other}"
        for name in files()
        for other in imports(name)
        if "." in name and "." in other and order[room_of(other)] > order[room_of(name)]
    ]
    assert down == []


def test_no_files_import_each_other():
    """Files can be put in an order, too: no circle, and none for types alone."""
    left = {name: set(imports(name)) for name in files()}
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    assert circle_of(left) == []


def circle_of(left: Mapping[str, set[str]]) -> list[str]:
    """Return one circle of what is left, for the message."""
    if not left:
        return []
    path = [next(iter(left))]
    while path[-1] not in path[:-1]:
        path.append(next(other for other in sorted(left[path[-1]]) if other in left))
    return path[path.index(path[-1]) :]


def test_public_class_names_are_unique():
    homes = defaultdict(list)
    for name in files():
        for node in tree(name).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(name)
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}


def test_files_open_with_one_sentence_and_stay_short():
    silent = [name for name in files() if not ast.get_docstring(tree(name))]
    long = [name for name, path in files().items() if path.read_text().count("\n") > MOST_LINES]
    assert (silent, long) == ([], [])


def test_short_files_have_several_importers():
    """A file of a few lines with one importer belongs into that importer; a kind of a shelf stands alone."""
    importers = defaultdict(set)
    for name in files():
        for other in imports(name):
            importers[other].add(name)
    kinds = {value.partition(":")[0] for name in files() for value in strings(name) if value.startswith("estimator.")}
    lonely = [
        name
        for name, path in files().items()
        if path.name not in ("__init__.py", "__main__.py")
        and path.read_text().count("\n") < FEW_LINES
        and len(importers[name]) < 2
        and name not in kinds
        and room_of(name) not in ("verbs", "cli")
    ]
    assert lonely == []


def strings(name: str) -> Iterator[str]:
    return (
        node.value for node in ast.walk(tree(name)) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for name in files():
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.FunctionDef):
                yield name, node


def test_functions_fit_on_a_page():
    long = [
        f"{name}.{node.name}"
        for name, node in functions()
        if (node.end_lineno or 0) - node.body[0].lineno >= MOST_FUNCTION_LINES
    ]
    assert long == []


def test_no_function_only_calls_another():
    """A public function that hands its parameters on, unchanged and in order, is a second name for the other."""
    passing = [
        f"{name}.{node.name}"
        for name, node in functions()
        if node in tree(name).body and not node.name.startswith("_") and passes_through(node)
        if room_of(name) != "verbs"
    ]
    assert passing == []


def passes_through(node: ast.FunctionDef) -> bool:
    body = [item for item in node.body if not (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant))]
    if len(body) != 1 or not isinstance(body[0], ast.Return) or not isinstance(body[0].value, ast.Call):
        return False
    call = body[0].value
    given = [item.id if isinstance(item, ast.Name) else None for item in call.args]
    given += [item.value.id if isinstance(item.value, ast.Name) else None for item in call.keywords]
    parameters = [item.arg for item in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return bool(parameters) and isinstance(call.func, ast.Name) and given == parameters


# Modules that a server imports when they are first needed, so that it starts sooner.
IMPORTED_LATE = {"estimator.monitoring.overview", "estimator.monitoring.page", "estimator.serving.explain_prediction"}


def test_own_modules_are_imported_at_the_top():
    """Inside functions only what needs an extra is imported, or what a server seldom needs."""
    inside = []
    for name, function in functions():
        if name == "estimator" or room_of(name) == "checks":
            continue
        for node in ast.walk(function):
            inside += [
                f"{name}: {other}"
                for other in own_imports(name, node)
                if other not in IMPORTED_LATE and not needs_more_than_the_base(other)
            ]
    assert sorted(set(inside)) == []


@cache
def needs_more_than_the_base(name: str) -> bool:
    """Whether importing a module imports, at the top of it or of what it imports, more than the base install has."""
    seen, todo = {name}, [name]
    while todo:
        module = todo.pop()
        for node in top_level(tree(module)):
            foreign = {alias.name for alias in node.names} if isinstance(node, ast.Import) else {node.module or ""}
            roots = {item.split(".")[0] for item in foreign} - set(sys.stdlib_module_names) - {"estimator"}
            if roots - BASE_PACKAGES:
                return True
            for other in own_imports(module, node):
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
    return False


def top_level(module: ast.Module | ast.With | ast.Try) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports that importing a module runs; a block for types alone is not among them."""
    for node in module.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        if isinstance(node, ast.With | ast.Try):
            yield from top_level(node)


def test_nothing_pickles_or_evaluates():
    for name in files():
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & {"pickle", "joblib", "dill", "cloudpickle"}
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec")


def test_examples_in_docstrings_hold():
    for name, path in files().items():
        if ">>>" in path.read_text():
            assert doctest.testmod(importlib.import_module(name)).failed == 0, name


def test_every_name_of_keras_is_built():
    from estimator.models.nets import keras_names, optimizers, schedules
    from estimator.models.nets.dense import activations, initializers, losses

    assert set(keras_names.ACTIVATIONS) == set(activations.ACTIVATIONS)
    assert set(keras_names.LOSSES) == set(losses.LOSSES) | set(losses.BATCH_LOSSES)
    assert set(keras_names.OPTIMIZERS) == set(optimizers.RULES)
    assert set(keras_names.SCHEDULES) == set(schedules.SCHEDULES)
    assert set(keras_names.INITIALIZERS) == set(initializers.INITIALIZERS)
