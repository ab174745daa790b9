"""What a first run trains with is what the published experiments found best for it."""

import pandas as pd
import pytest

from experiments.published import RESULTS
from ranking import configuration
from ranking.optimizers.clipping import Clippy

ENOUGH = 0.001  # of AUC, that the lowest rate may be below the best


@pytest.mark.parametrize("log", ["kuairand", "movielens", "synthetic"])
def test_the_default_of_a_log_is_calm_and_within_noise_of_the_best_that_was_found(log: str) -> None:
  settings = configuration.read(config="large_dcn_clippy.gin", data=log, scale="proxy").training
  table = pd.read_parquet(RESULTS / f"defaults_{log}" / "table.parquet")
  headline = table[table.task == table.task.dropna().iloc[0]]
  of_clippy = headline[headline.method == "clippy"]
  settings_of = ["Clippy.absolute_threshold", "learning_rate"]
  grid = of_clippy.groupby(settings_of).agg(
    auc=("value", "mean"),
    seeds=("seed", "nunique"),
    calm=("status", lambda all_: set(all_) == {"ok"}),
  )
  assert (grid.seeds == 3).all()
  calm = grid[grid.calm]
  threshold = calm.auc.idxmax()[0]
  near = calm[calm.auc >= calm.auc.max() - ENOUGH].loc[threshold]
  assert settings.learning_rate == near.index.min()
  clip = settings.optimizer.clip
  assert isinstance(clip, Clippy)
  assert clip.absolute_threshold == threshold
  assert settings.schedule is not None
