"""Every task mixes its own experts and those of all, level by level."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ranking.array import Array
from ranking.cli import main
from ranking.models.bodies.dense import DenseLayers
from ranking.models.bodies.ple import Ple
from ranking.models.inputs import Inputs
from ranking.models.model import Model
from ranking.models.settings import ModelError
from ranking.tasks import Task
from tests.body_twin import TASKS, WIDTH, Weights, build, compare, relu_layer, softmax
from tests.conftest import FEW_FEATURES
from tests.toy_model import schema


def twin(weights: Weights, x0: Array) -> list[Array]:
  """Three levels with two shared experts, and two of each task."""
  seen = {"click": x0, "like": x0, "shared": x0}
  for level in ("level_1", "level_2", "level_3"):
    made = {
      (owner, k): relu_layer(weights, f"{level}/{prefix}expert_{k}/hidden_1", seen[owner])
      for owner, prefix in (("click", "click_"), ("like", "like_"), ("shared", "shared/"))
      for k in (1, 2)
    }
    mixed = {}
    for owner, name in (("click", "click_gate"), ("like", "like_gate"), ("shared", "shared/gate")):
      if (owner, level) != ("shared", "level_3"):
        owners = ("click", "like", "shared") if owner == "shared" else (owner, "shared")
        experts = [made[of, k] for of in owners for k in (1, 2)]
        shares = softmax(seen[owner] @ weights[f"{level}/{name}/kernel"])
        mixed[owner] = np.einsum("be,ebk->bk", shares, experts)
    seen = mixed
  return [seen["click"], seen["like"]]


def test_what_the_towers_see_and_its_gradients_equal_the_formula() -> None:
  compare(Ple(3, 2, 2, DenseLayers([5])), twin)


@pytest.mark.parametrize("levels", [1, 2])
def test_at_the_last_level_a_task_trains_the_shared_experts_and_its_own_alone(levels: int) -> None:
  layers, variables = build(Ple(levels, 1, 1, DenseLayers([5])))
  with tf.GradientTape() as tape:
    click = tf.reduce_sum(layers(tf.random.stateless_normal([8, WIDTH], [0, 1]))[0])
  gradients = tape.gradient(click, variables)
  reached = {name for name, gradient in gradients.items() if gradient is not None}
  last = {name for name in variables if name.startswith(f"level_{levels}/")}
  assert last - reached == {name for name in last if "/like_" in name}
  # Before the last level, the shared gate hands on what the experts of other tasks made.
  earlier = {name for name in variables if name not in last}
  assert earlier - reached == {name for name in earlier if "/like_gate" in name}


def test_a_task_may_be_called_shared() -> None:
  tasks = (Task("shared", "binary"), Task("level_1", "binary"))
  network = Model(Ple(2, 1, 1, DenseLayers([4])), Inputs(20)).build(schema(tasks=tasks))
  assert network.parameter_counts()["non_embedding"] == (
    3 * (20 * 4 + 4) + 20 * (2 + 2 + 3) + 3 * (4 * 4 + 4) + 4 * (2 + 2) + 2 * (4 + 1)
  )


def test_a_wider_scale_widens_the_experts_of_every_level() -> None:
  layers = Ple(2, 1, 1, DenseLayers([4])).build(TASKS, WIDTH, 2.0)
  assert layers(np.zeros([3, WIDTH], np.float32))[1].shape == (3, 8)


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ((0, 1, 1, DenseLayers([8])), "Ple.num_levels is 0; make it a whole number of 1 to 1,000"),
    ((1, 0, 1, DenseLayers([8])), "Ple.num_shared_experts is 0; make it a whole number"),
    ((1, 1, True, DenseLayers([8])), "Ple.num_task_experts is True; make it a whole number"),
    ((1, 1, 1, 8), r"Ple.expert is 8; make it a block, such as @DenseLayers\(\)"),
  ],
)
def test_levels_that_cannot_be_are_refused(settings: tuple[object, ...], message: str) -> None:
  with pytest.raises(ModelError, match=message):
    Ple(*settings)  # type: ignore[arg-type]


BOUNDED = (
  "Synthetic.days=4 Synthetic.rows_per_day=100 DenseLayers.norm=@RmsNorm() "
  "DenseLayers.largest_activation=6.0 Ple.num_shared_experts=1 Towers.tower_units=[64] "
  "train_and_evaluate.without_tasks=['like','share','complete','satisfaction','log_watch_seconds'] "
  "train_and_evaluate.batch_size=32 train_and_evaluate.max_steps=4 "
  "train_and_evaluate.steps_per_call=2 train_and_evaluate.checkpoint_every=2 "
  f"{FEW_FEATURES}"
)


@pytest.mark.usefixtures("own_folder")
def test_the_command_trains_it_and_goes_on_bit_for_bit_and_every_layer_has_a_row(
  capsys: pytest.CaptureFixture[str],
) -> None:
  words = ["--model=ple", "--method=clippy", "--scale=proxy", "--run=run", f"--set={BOUNDED}"]
  assert main(["train", *words]) == 0
  printed = capsys.readouterr().out
  for variable in (
    "level_1/click_expert_1/hidden_1/kernel",
    "level_2/shared/expert_1/hidden_1_norm/rms_norm/gamma",
    "level_1/shared/gate/kernel",
    "click_tower_1/bias",
  ):
    assert variable in printed
  run = Path("run")
  assert json.loads((run / "result.json").read_text())["status"] == "ok"
  last = run / "checkpoints" / "step-00000004"
  weights = next(last.glob("variables.data*"))
  first = [path.read_bytes() for path in (run / "metrics.jsonl", weights)]
  (run / "result.json").unlink()
  shutil.rmtree(last)
  assert main(["train", *words]) == 0
  assert [path.read_bytes() for path in (run / "metrics.jsonl", weights)] == first
