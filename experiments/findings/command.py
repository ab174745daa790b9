"""Writes experiments/findings.md from finished runs.

Says of every finding of the paper whether each log reproduces it, by the rules of
experiments/findings/. A finding whose runs are not on this machine keeps what was said of it
before, in findings.json beside the page, unless its rule was changed since; what was never run is
undecided.
"""

import argparse
import re
from pathlib import Path
from typing import get_args

from experiments import pages, templating
from experiments.findings.archive import Archive
from experiments.findings.log import Log
from experiments.findings.rule import Judgement, Rule, Verdict
from experiments.findings.rules import RULES
from experiments.pages import EXPERIMENTS
from ranking.files import write_atomically
from ranking.sweeps import files

ROOT = Path(__file__).parents[2]
Judged = tuple[Rule, dict[str, Judgement]]  # what a rule says of each log, by its name


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `python -m experiments findings`."""
  parser.add_argument(
    "--logs",
    nargs="+",
    default=["kuairand", "kuairand_late", "synthetic_late"],
    help="their names",
  )


def run(given: argparse.Namespace) -> int:
  """Writes the page, its archive and the pages of pages.py.

  Raises InputError or SweepError if a run cannot be read.
  """
  archive = Archive(EXPERIMENTS / "findings.json")
  logs = [Log(name, Path("runs"), trials) for name in given.logs]
  kept: list[str] = []
  judged: list[Judged] = []
  for rule in RULES:
    judgements = {}
    for log in logs:
      judgements[log.name], is_kept = archive.judge(rule, log)
      if is_kept and rule.name not in kept:
        kept.append(rule.name)
    judged.append((rule, judgements))
  write_atomically(EXPERIMENTS / "findings.md", page(given.logs, judged))
  archive.save()
  if kept:
    print(f"kept as judged before, what is here does not judge them: {', '.join(kept)}")
  print(EXPERIMENTS / "findings.md")
  pages.write()
  return 0


def page(logs: list[str], judged: list[Judged]) -> str:
  """The page as Markdown: a table of all verdicts, then a section for each finding."""
  return templating.render(
    "findings.md",
    logs=logs,
    judged=judged,
    verdicts=get_args(Verdict),
    command_of=command_of,
  )


def command_of(rule: Rule, log: str) -> str | None:
  """What makes the runs that a rule judges; None if the log has no such experiment."""
  command = rule.command.format(log=log)
  described = re.findall(r"SWEEP=(\S+\.gin)", command)
  return command if all((ROOT / file).is_file() for file in described) else None


def trials(experiment: str) -> list[str]:
  """The names of the trials of experiments/<experiment>.gin; of a search, of those alone."""
  return [trial.name for trial in files.describe(f"experiments/{experiment}.gin").trials()]
