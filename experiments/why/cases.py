"""The lost runs that are taken apart, all of naive Large+DCN at an eighth of the paper's widths."""

import dataclasses

from ranking import configuration
from ranking.settings import Settings

GENERATED = ("Synthetic.rows_per_day=150000",)


@dataclasses.dataclass(frozen=True)
class Case:
  """A run of the late calibrations.

  Attributes:
    data: "kuairand" or "synthetic".
    rate: after the warm-up.
    warmup_steps: over which it rises.
    seed: of weights and window.
    batch_size: rows of a step.
  """

  data: str
  rate: float
  warmup_steps: int
  seed: int
  batch_size: int

  @property
  def name(self) -> str:
    """Such as "kuairand-rate=0.3-warmup=100-seed=1"."""
    return f"{self.data}-rate={self.rate:g}-warmup={self.warmup_steps}-seed={self.seed}"

  def settings(self, method: str, raw: str | None, store_directory: str) -> Settings:
    """Of the same run with a method; nothing of it is written."""
    bindings = [
      f"train_and_evaluate.learning_rate={self.rate}",
      f"train_and_evaluate.seed={self.seed}",
      f"train_and_evaluate.batch_size={self.batch_size}",
      "train_and_evaluate.schedule=@LinearWarmUp",
      f"LinearWarmUp.warmup_steps={self.warmup_steps}",
      f"train_and_evaluate.store_directory='{store_directory}'",
      *(GENERATED if self.data == "synthetic" else ()),
    ]
    return configuration.read(
      model="large_dcn",
      method=method,
      data=self.data,
      scale="proxy",
      raw=raw if self.data == "kuairand" else None,
      bindings=bindings,
    )


CASES = (
  Case("synthetic", 0.6, 300, 0, 1024),
  Case("kuairand", 0.8, 811, 1, 256),
  Case("kuairand", 0.8, 811, 0, 256),
  Case("kuairand", 0.6, 400, 0, 256),
  Case("kuairand", 0.4, 200, 0, 256),
  Case("kuairand", 0.3, 100, 1, 256),
)
