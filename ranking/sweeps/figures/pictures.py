"""Which pictures a sweep ends in: maps and curves, by the axes that it has."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from ranking.sweeps.figures import curves, grid, limits
from ranking.sweeps.places import places
from ranking.sweeps.sweep import Sweep


def pictures(sweep: Sweep, table: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
  """The figures of a sweep, by name; none before a run is finished.

  Args:
    sweep: whose runs these are.
    table: of `results.read`; what is no part of the sweep is left out.
  """
  found = places(sweep.trials(), table)
  if not any(place.rows.task.notna().any() for place in found):
    return
  if len({(place.learning_rate, place.at("learning_rate_multiplier")) for place in found}) > 1:
    yield "survival_map", grid.survival_map(found)
    yield "survival_curves", curves.survival_curves(found)
    if len(list(grid.panels(grid.frame(found), [grid.METHOD, grid.RATE]))) > 1:
      yield "survival_limits", limits.survival_limits(found)
  elif axes := map_axes(sweep):
    yield "map", grid.grid_map(found, *axes)


def map_axes(sweep: Sweep) -> tuple[str, str] | None:
  """Rows and columns of the map of a sweep with one learning rate; None if it searches no two."""
  values: dict[str, set[str]] = {}
  for trial in sweep.trials():
    for setting, value in trial.thresholds.items():
      values.setdefault(setting, set()).add(repr(value))
  searched = [setting for setting in values if len(values[setting]) > 1]
  ablations = ["ablation"] if len(sweep.ablations) > 1 else []
  for axes in (searched, [*ablations, *searched]):
    if len(axes) == 2:
      return axes[0], axes[1]
  return None
