"""The bodies that are compared have as many parameters as each other, and as their file says."""

import re
from pathlib import Path

import pytest

from ranking import configuration
from ranking.sweeps import files
from ranking.sweeps.sweep import Sweep
from tests.toy_model import SIX, schema

EXPERIMENTS = Path(__file__).parents[1]
PART = (EXPERIMENTS / "parts" / "bodies.gin").read_text()


@pytest.mark.parametrize("name", ["bodies_kuairand", "bodies_synthetic"])
def test_the_bodies_that_are_compared_have_equal_parameters(name: str):
  sweep = files.describe(str(EXPERIMENTS / f"{name}.gin"))
  assert isinstance(sweep, Sweep)
  found = {}
  for trial in sweep.trials():
    if trial.coordinates["seed"] == 0 and trial.coordinates["learning_rate"] == 0.2:
      read = configuration.read(
        model=trial.model,
        method=trial.method,
        data=trial.data,
        scale=trial.scale,
        bindings=trial.bindings,
      )
      counts = read.training.model.build(schema(tasks=SIX)).parameter_counts()
      found[trial.coordinates["method"]] = counts["non_embedding"]
  said = re.search(r"have ([\d,]+), ([\d,]+) and ([\d,]+)", PART)
  assert said
  assert found == dict(zip(("plain", "mmoe", "ple"), map(number, said.groups()), strict=True))
  assert max(found.values()) < 1.01 * min(found.values())


def number(text: str) -> int:
  return int(text.replace(",", ""))
