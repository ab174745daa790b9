"""The commands of the README and of docs/comparison.md run, and the first one ends as it says."""

import argparse
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from ranking import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = README + (ROOT / "docs" / "comparison.md").read_text()
BLOCKS = [block for block in re.findall(r"```\n(.*?)```", PAGES, re.DOTALL) if "make " in block]
BLOCKS += [block for block in re.findall(r"```\n(.*?)```", PAGES, re.DOTALL) if "-m sc" in block]
TINY_LOG = "Synthetic.days=3 Synthetic.rows_per_day=300 Synthetic.num_users=60"
TINY_RUN = "train_and_evaluate.max_steps=2 train_and_evaluate.batch_size=32"


def lines_that_run() -> list[list[str]]:
  """What both pages' blocks would run, by asking bash and make, as words; each config once."""
  make = 'make() { command make --dry-run --silent "$@"; }\n'
  environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
  found: dict[tuple[str, ...], list[str]] = {}
  for block in BLOCKS:
    script = make + block.replace(".venv/bin/python", "printf '%q ' .venv/bin/python")
    printed = subprocess.run(
      ["bash", "-c", script], capture_output=True, text=True, cwd=ROOT, env=environment, check=True
    ).stdout
    for part in printed.replace("\\\n", " ").split(".venv/bin/python")[1:]:
      words = shlex.split(part.split("\n.venv")[0])
      key = tuple(word for word in words if not word.startswith(("--run", "--set", "runs/")))
      found.setdefault(key, words)
  return list(found.values())


LINES = lines_that_run()
TRAINING = [line for line in LINES if line[1] in ("ranking.main", "scripts.bench_training")]
COMMANDS = [line for line in LINES if line[1].startswith("scripts.") and line not in TRAINING]


def test_the_readme_shows_every_log() -> None:
  words = {word for line in TRAINING for word in line}
  assert {f"--data={log}" for log in ("synthetic", "kuairand", "kuairec", "movielens")} <= words


@pytest.mark.parametrize("line", TRAINING, ids=lambda line: " ".join(line[1:5]))
def test_a_training_command_of_the_pages_runs(
  line: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  given = dict(word.removeprefix("--").split("=", 1) for word in line if word.startswith("--"))
  if given.get("raw"):
    folder = Path(os.environ.get("RANKING_RAW_DATA", "nowhere")) / Path(given["raw"]).name
    if folder.name == "kuairec_sample":
      folder = tmp_path / folder.name
      made = [sys.executable, "-m", "scripts.make_kuairec_sample", f"--out={folder}", "--rows=2000"]
      subprocess.run(made, check=True, capture_output=True, cwd=ROOT)
    if not folder.is_dir():
      pytest.skip("no raw data: RANKING_RAW_DATA")
    given["raw"] = str(folder)
  given["run"] = str(tmp_path / "run")
  given["scale"] = "proxy"  # the paper's widths take minutes
  generated = TINY_LOG if given.get("data", "synthetic") == "synthetic" else ""
  given["set"] = f"{given.get('set', '')} {generated} {TINY_RUN}"
  monkeypatch.chdir(tmp_path)
  flags.FLAGS.unparse_flags()
  flags.FLAGS(["main", *(f"--{name}={value}" for name, value in given.items())])
  assert main.main(["main"]) == 0
  assert (tmp_path / "run" / "result.json").is_file()


class Parsed(Exception):
  """The command line was understood."""


@pytest.mark.parametrize("line", COMMANDS, ids=lambda line: " ".join(line[1:5]))
def test_a_script_of_the_pages_knows_its_flags(
  line: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
  given, text = line[2:], (ROOT / f"{line[1].replace('.', '/')}.py").read_text()
  if "from absl import app" in text:  # two scripts may not define one flag in one process
    known = set(re.findall(r'DEFINE_\w+\(\s*"(\w+)"', text))
    assert {word[2:].partition("=")[0] for word in given if word.startswith("--")} <= known
    return
  script, parse = importlib.import_module(line[1]), argparse.ArgumentParser.parse_args

  def parse_only(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    parse(parser, arguments)
    raise Parsed

  monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
  with pytest.raises(Parsed):
    script.main(given)


def test_the_first_command_ends_as_the_readme_says(tmp_path: Path) -> None:
  """The figures are of one machine: another may differ, but not by the 95 % interval."""
  first = next(line for line in README.splitlines() if line.startswith("make train"))
  environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
  done = subprocess.run(
    [*shlex.split(first), f"RUN={tmp_path / 'run'}"],
    capture_output=True,
    text=True,
    cwd=ROOT,
    env=environment,
    check=False,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  result = json.loads((tmp_path / "run" / "result.json").read_text())
  assert result["status"] == "ok"
  for task, measure, value in re.findall(
    r"^  (\w+) +(AUC|RMSE) +(\d\.\d{4})", README, re.MULTILINE
  ):
    entry = result["metrics"][task]
    low, high = entry["ci95"]
    assert entry[measure.lower()] == pytest.approx(float(value), abs=(high - low) / 2), task


@pytest.mark.parametrize(
  "path", re.findall(r"`((?:ranking|configs|experiments|docs|tests)/[\w./]+)`", PAGES)
)
def test_a_path_of_the_pages_exists(path: str) -> None:
  assert (ROOT / path).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make ([\w-]+)", PAGES))))
def test_a_make_target_of_the_pages_exists(target: str) -> None:
  assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
