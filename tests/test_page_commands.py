"""Every command that a page shows is understood: its target, arguments, names and settings exist.

Nothing is trained here. Make is asked what it would run; where there is no make, its lines are left
out. The first command of the README is run by test_readme.py.
"""

import argparse
import functools
import importlib
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from experiments import __main__ as experiments
from ranking import cli, configuration
from ranking.commands.run_arguments import read_settings

ROOT = Path(__file__).parent.parent
PAGES = [
  ROOT / "README.md",
  ROOT / "CONTRIBUTING.md",
  *sorted((ROOT / "docs").glob("*.md")),
  ROOT / "experiments" / "comparison.md",
  ROOT / "experiments" / "models.md",
  ROOT / "experiments" / "transformer.md",
]
OF_TRAINING = ("ranking/commands/train.py", "ranking/commands/run_arguments.py")
STARTS = ("make ", "ranking ", ".venv/bin/python ", "python -m ")
PLACES = {"mylog.gin": "table.gin", "tighter.gin": "clippy.gin"}  # files that a reader writes


def lines() -> list[str]:
  """The commands in the pages' blocks, and those with arguments in their text, each once."""
  found: dict[str, None] = {}  # in their order
  for page in PAGES:
    text = page.read_text()
    blocks = "\n".join(re.findall(r"^ *```\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL))
    in_text = re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    shown = blocks.replace("\\\n", " ").splitlines() + [text for text in in_text if "=" in text]
    each = (" ".join(line.split()) for line in shown)
    found |= dict.fromkeys(line for line in each if line.startswith(STARTS))
  return [line for line in found if "DATA=… RAW=…" not in line]


@functools.cache
def command_of(line: str) -> list[str]:
  """The words that run: ["ranking", "train", …] or ["python", "-m", "experiments", …]."""
  words = shlex.split(line)
  if words[0] == "make":
    if shutil.which("make") is None:
      pytest.skip("no make")
    asked = ["make", "--dry-run", "--silent", "--old-file=setup", "BIN=BIN", "PYTHON=python3"]
    done = subprocess.run([*asked, *words[1:]], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    words = shlex.split(done.stdout.replace("\\\n", " "))
  words[0] = words[0].rpartition("/")[2]
  if words[:3] == ["python", "-m", "ranking"]:
    words = words[2:]
  return words


def parsed(words: list[str]) -> argparse.Namespace:
  """The arguments of a subcommand as its own parser understands them."""
  if words[0] == "ranking":
    name, *given = words[1:]
    module = f"ranking.commands.{name.replace('-', '_')}"
  else:
    name, *given = words[3:]
    module = experiments.COMMANDS[name][0]
  parser = cli.Parser(prog=name, allow_abbrev=False)
  importlib.import_module(module).add_arguments(parser)
  return parser.parse_args(given)


@pytest.mark.parametrize("line", [line for line in lines() if line.startswith("make ")])
def test_a_make_line_sets_only_what_make_passes_on(line: str) -> None:
  makefile = (ROOT / "Makefile").read_text()
  for word in shlex.split(line)[1:]:
    name, equals, _ = word.partition("=")
    assert re.search(rf"^{name} \?=" if equals else rf"^{name}\b.*:", makefile, re.MULTILINE), word


@pytest.mark.parametrize("line", lines())
def test_a_command_is_understood(line: str) -> None:
  words = command_of(line)
  if words[0] == "ranking" or words[:3] == ["python", "-m", "experiments"]:
    parsed(words)
  elif words[2].startswith("scripts."):
    files = (f"{words[2].replace('.', '/')}.py", *OF_TRAINING)
    text = "".join((ROOT / file).read_text() for file in files)
    for word in words[3:]:
      flag = word.partition("=")[0].removeprefix("--")
      assert f'"{flag}"' in text or f'"--{flag}"' in text, word


@pytest.mark.parametrize("line", [line for line in lines() if " train " in f"{line} "])
def test_a_training_command_has_settings_that_can_be_made(line: str) -> None:
  words = command_of(line)
  for own, ours in PLACES.items():
    words = [word.replace(own, ours) for word in words]
  given = parsed(words)
  assert read_settings(given, "runs/none").names.scale_name == given.scale


def test_the_pages_show_a_command_for_every_log_that_can_be_fetched() -> None:
  shown = " ".join(lines())
  for log in set(configuration.names()["DATA"]) - {"synthetic", "table"}:
    assert f"DATA={log}" in shown
