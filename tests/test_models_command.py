"""A model that has every body and block, through the commands."""

import json
from pathlib import Path

import pytest

from ranking import configuration
from ranking.cli import main
from ranking.compiling.program import step_program
from ranking.data.store import DayStore
from tests.conftest import FEW_FEATURES

SETTINGS = [
  *("Synthetic.days=4", "Synthetic.rows_per_day=100", FEW_FEATURES),
  "train_and_evaluate.without_tasks=['like', 'share', 'complete', 'satisfaction']",
  *("train_and_evaluate.batch_size=32", "train_and_evaluate.max_steps=4"),
  *("train_and_evaluate.steps_per_call=2", "train_and_evaluate.checkpoint_every=2"),
]
MODEL = """
train_and_evaluate.model_name = "everything"
Model.body = @Ple()
Model.inputs = @Inputs()
Inputs.input_width = 240
Ple.num_levels = 2
Ple.num_shared_experts = 1
Ple.num_task_experts = 1
Ple.expert = @Parallel()
Parallel.branches = [@ResidualCrossLayers(), @LowRankCrossLayers(), @Wukong(), @bounded/DenseLayers()]
ResidualCrossLayers.num_cross_layers = 1
LowRankCrossLayers.num_cross_layers = 1
LowRankCrossLayers.rank = 16
Wukong.num_layers = 1
Wukong.num_fields = 4
Wukong.field_width = 16
Wukong.rank = 2
Wukong.mlp = @DenseLayers()
DenseLayers.hidden_units = [64]
bounded/DenseLayers.norm = @RmsNorm()
bounded/DenseLayers.largest_activation = 6.0
Towers.tower_units = [32]
"""


@pytest.mark.usefixtures("own_folder")
def test_it_trains_and_goes_on_bit_for_bit_and_every_layer_has_a_row(
  capsys: pytest.CaptureFixture[str],
) -> None:
  Path("everything.gin").write_text(MODEL)
  words = ["train", "--model=everything.gin", "--method=clippy", "--scale=proxy", "--run=run"]
  words.append(f"--set={' '.join(SETTINGS)}")
  assert main(words) == 0
  printed = capsys.readouterr().out
  for variable in (
    "level_1/click_expert_1/branch_1/cross_1/rms_norm/gamma",
    "level_2/shared/expert_1/branch_3/interaction_1/compression",
    "level_1/shared/gate/kernel",
    "level_2/click_expert_1/branch_4/hidden_1_norm/rms_norm/gamma",
  ):
    assert variable in printed
  run = Path("run")
  first = [path.read_bytes() for path in written(run)]
  (run / "result.json").unlink()
  for path in sorted((run / "checkpoints" / "step-00000004").iterdir()):
    path.unlink()
  assert main(words) == 0
  assert "step 2" in capsys.readouterr().out
  assert [path.read_bytes() for path in written(run)] == first
  assert json.loads((run / "result.json").read_text())["status"] == "ok"


def written(run: Path) -> list[Path]:
  """What is the same of two runs that are."""
  weights = (run / "checkpoints" / "step-00000004").glob("variables.data*")
  return [run / "metrics.jsonl", run / "evals.jsonl", *sorted(weights)]


@pytest.mark.usefixtures("own_folder")
def test_its_step_is_one_program_for_another_device(tiny_store: DayStore) -> None:
  Path("everything.gin").write_text(MODEL)
  settings = configuration.read(model="everything.gin", method="clippy", scale="proxy")
  program = step_program(settings, tiny_store.schema, 64)
  assert b"custom-call" not in program
