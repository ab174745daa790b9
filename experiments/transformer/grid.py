"""The cells of the grid, and the file that keeps how each of them ended, a line for each."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from ranking.errors import InputError
from ranking.files import write_atomically

WARM_UPS = {"short": 0.02, "long": 0.08}  # shares of the steps, as 10,000 and 40,000 of 500,000
RATES = {  # by method, the highest of a run; as in the paper, Clippy's reach farther up
  "adamw": (0.001, 0.003, 0.01, 0.03, 0.1),
  "adagrad": (0.03, 0.1, 0.3, 1.0, 3.0),
  "clippy_tight": (0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
  "clippy_wide": (0.3, 1.0, 3.0, 10.0, 30.0),
}
SEEDS, STEPS = (0, 1), 300


class Cell(NamedTuple):
  """What one run is trained with.

  Attributes:
    method: of RATES.
    warm_up: of WARM_UPS.
    rate: the highest learning rate, that at the end of the warm-up.
    seed: of initial weights, and of the sentences and their order.
    steps: of the whole run.
  """

  method: str
  warm_up: str
  rate: float
  seed: int
  steps: int


Ends = dict[Cell, dict[str, Any]]  # as `training.End` has it


def read(file: Path) -> Ends:
  """How each cell ended that has a line. Raises InputError if one cannot be read."""
  ends: Ends = {}
  lines = file.read_text().splitlines() if file.is_file() else []
  for number, line in enumerate(lines, start=1):
    try:
      end = json.loads(line)
      ends[Cell(*(end.pop(name) for name in Cell._fields))] = end
    except (ValueError, KeyError, AttributeError) as error:
      raise InputError(f"{file}:{number} is no cell; remove the line, to train it again") from error
  return ends


def write(file: Path, ends: Ends) -> None:
  """All of them, in the order in which they ended."""
  file.parent.mkdir(parents=True, exist_ok=True)
  lines = (json.dumps(cell._asdict() | end) + "\n" for cell, end in ends.items())
  write_atomically(file, "".join(lines))
