"""What the step of a run costs on a device, for the commands that check one."""

import argparse
from pathlib import Path
from typing import NamedTuple

from ranking.commands.run_arguments import read_settings
from ranking.compiling.costs import Costs, compile_step
from ranking.compiling.program import step_program
from ranking.errors import InputError
from ranking.training.console import Console
from ranking.training.run import open_log


class StepCosts(NamedTuple):
  """Costs of a step on so many rows and on half as many."""

  run: str  # which run it is
  precision: str  # of its layers
  whole: Costs
  half: Costs


def step_costs(given: argparse.Namespace, rows: int, kind: str, target: str) -> StepCosts:
  """Compiles the step of the run that arguments say; the other arguments as of `compile_step`.

  Raises:
    InputError: there is no compiler, or it refuses the step.
  """
  if not Path(given.compiler).is_file():
    raise InputError(f"no Python at {given.compiler}; make {kind.lower()}-check sets one up")
  settings = read_settings(given, "runs/none")
  schema = open_log(settings, Console()).schema

  def cost(count: int) -> Costs:
    return compile_step(step_program(settings, schema, count), given.compiler, kind, target)

  names, log = settings.names, settings.log.source.name
  return StepCosts(
    f"{names.model_name} with {names.method_name} at scale {names.scale_name} on {log}",
    settings.training.model.precision,
    cost(rows),
    cost(rows // 2),
  )
