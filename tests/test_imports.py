"""Imports go one way: a module imports only what stands in its own layer or before it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# From the bottom up: parts of `ranking`, a module or a package each. Those of one layer know
# nothing of each other, and a package may import within itself.
LAYERS: tuple[tuple[str, ...], ...] = (
  ("array", "checks", "errors", "files", "nearest", "quiet"),
  ("meeting", "run_directory"),
  ("one_device", "strategy"),
  ("measures",),
  ("tasks",),
  ("data",),
  ("models",),
  ("optimizers",),
  ("stability",),
  ("evaluation",),
  ("settings",),
  ("training",),
  ("compiling",),
  ("configuration",),
  ("sweeps",),
  ("commands",),
  ("cli",),
  ("__main__",),
)
LAYER_OF = {part: number for number, layer in enumerate(LAYERS) for part in layer}
MODULES = sorted(path for path in (ROOT / "ranking").rglob("*.py") if "configs" not in path.parts)


def imported(path: Path) -> Iterator[tuple[int, str]]:
  """(line, full name) of whatever a module imports, also inside functions."""
  package = path.relative_to(ROOT).parts[:-1]
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      for alias in node.names:
        yield node.lineno, alias.name
    elif isinstance(node, ast.ImportFrom):
      base = list(package[: len(package) - node.level + 1]) if node.level else []
      base += [node.module] if node.module else []
      for alias in node.names:
        yield node.lineno, ".".join([*base, alias.name])


def part_of(name: str) -> str:
  """The part of `ranking` that a full name lies in; "" for the package itself."""
  return name.removesuffix(".py").split(".")[1] if "." in name else ""


def upward(path: Path) -> list[str]:
  """The imports of a module that go the wrong way."""
  own = part_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
  wrong = []
  for line, name in imported(path):
    package, part = name.partition(".")[0], part_of(name)
    outside = package in ("experiments", "scripts", "tests")
    inside = package == "ranking" and part in LAYER_OF and part != own
    if outside or (inside and LAYER_OF[part] >= LAYER_OF[own]):
      wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
  return wrong


def test_every_part_of_the_package_has_a_layer() -> None:
  parts = {path.relative_to(ROOT / "ranking").parts[0].removesuffix(".py") for path in MODULES}
  assert parts - {"__init__"} <= set(LAYER_OF)


@pytest.mark.parametrize("part", [part for layer in LAYERS for part in layer])
def test_a_part_imports_only_what_stands_before_it(part: str) -> None:
  own = [
    path for path in MODULES if path.relative_to(ROOT / "ranking").parts[0] in (part, f"{part}.py")
  ]
  assert [line for path in own for line in upward(path)] == []


def test_the_package_itself_imports_none_of_its_parts() -> None:
  names = [name for _, name in imported(ROOT / "ranking" / "__init__.py")]
  assert [name for name in names if name.partition(".")[0] == "ranking"] == []


@pytest.mark.parametrize(
  "path", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.stem
)
def test_a_script_imports_the_package_before_tensorflow(path: Path) -> None:
  packages = [name.partition(".")[0] for _, name in sorted(imported(path))]
  if "tensorflow" in packages:  # else Keras 3 would be taken, which the package refuses
    assert "ranking" in packages[: packages.index("tensorflow")]
