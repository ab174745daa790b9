"""Settings check themselves when they are made, and two runs are compared by them."""

import dataclasses
import json
from typing import Any

import pytest

from ranking.configuration import read
from ranking.optimizers import LinearWarmUp
from ranking.settings import (
  GROUPS,
  NAMES,
  ProgressSettings,
  SettingError,
  Settings,
  differences,
)


@pytest.fixture(scope="module")
def made() -> Settings:
  return read(config="small_clippy", scale="proxy")


def test_every_name_is_of_one_group() -> None:
  fields = [field.name for group in GROUPS.values() for field in dataclasses.fields(group)]
  assert len(fields) == len(set(fields))
  assert set(fields) < set(NAMES)


def flat(settings: Settings) -> dict[str, Any]:
  of_groups = [getattr(settings, name) for name in GROUPS]
  return {
    field.name: getattr(group, field.name)
    for group in (settings, *of_groups)
    for field in dataclasses.fields(group)
    if field.name in NAMES
  }


def test_a_flat_list_of_names_makes_the_same_settings(made: Settings) -> None:
  assert Settings.of(**flat(made)) == made


@pytest.mark.parametrize(
  ("name", "value", "message"),
  [
    ("sead", 3, "no setting train_and_evaluate.sead; the nearest is 'seed'"),
    ("source", 3, "make it an object, such as @Synthetic"),
    ("source", dict, "make it an object, such as @Synthetic"),
    ("lookback", None, "make it @Lookback"),
    ("without_last_days", True, "make it a whole number"),
    ("without_last_days", -1, "make it a whole number, 0 or more"),
    ("without_tasks", "click", "make it a list of tasks"),
    ("without_tasks", [3], "make it a list of tasks"),
    ("store_directory", 5, "make it the path of a folder"),
    ("store_directory", "", "make it the path of a folder"),
    ("model", "small", "make it a model, such as @Model"),
    ("optimizer", None, "make it @ClippedOptimizer"),
    ("monitor", 3, "make it @DivergenceMonitor"),
    ("learning_rate", 0.0, "make it more than 0"),
    ("learning_rate", float("nan"), "make it a number, 0 or more"),
    ("learning_rate", "0.1", "make it a number"),
    ("learning_rate_multiplier", -1, "make it a number, 0 or more"),
    ("schedule", 3, "make it a class, such as @LinearWarmUp"),
    ("schedule", dict, "schedule cannot be made"),
    ("schedule", lambda peak: peak, "make it a class, such as @LinearWarmUp"),
    ("batch_size", 1, "make it 2 or more: a model whose units have died"),
    ("batch_size", 64.0, "make it a whole number"),
    ("batch_size", 10**12, "make it a whole number from 2 to 16,777,216"),
    ("window_hours", "week", "make it a number"),
    ("window_hours", -1, "make it a number, 0 or more"),
    ("window_hours", float("inf"), 'make it finite, or "all"'),
    ("seed", 2**32, "make it a whole number from 0 to 4,294,967,295"),
    ("max_steps", 0, "make it a whole number, 1 or more"),
    ("eval_every", 0.5, "make it a whole number"),
    ("checkpoint_every", "often", "make it a whole number"),
    ("observe_every", True, "make it a whole number"),
    ("steps_per_call", None, "make it a whole number"),
    ("on_divergence", "go", "make it 'stop' or 'continue'"),
    ("max_seconds", -1, "make it a number, 0 or more"),
    ("stuck_after_seconds", "long", "make it a number"),
    ("model_name", 3, "make it a name"),
    ("run_directory", 3, "make it the path of a folder"),
    ("shadows", [1], "make it a dict of names to clips"),
    ("shadows", {"a": 1}, "make it a clip, such as @Clippy"),
    ("distribution", 3, "make it a function"),
  ],
)
def test_a_value_that_a_setting_cannot_have_is_refused_when_it_is_made(
  made: Settings, name: str, value: Any, message: str
) -> None:
  with pytest.raises(SettingError, match=message) as refused:
    Settings.of(**{**flat(made), name: value})
  assert len(str(refused.value).splitlines()) == 1
  assert f"train_and_evaluate.{name}" in str(refused.value)


def test_what_has_no_default_must_be_given(made: Settings) -> None:
  given = flat(made)
  del given["source"]
  with pytest.raises(SettingError, match=r"nothing sets train_and_evaluate\.source"):
    Settings.of(**given)


def test_an_identity_is_of_what_a_run_is_and_not_of_how_far_and_closely_it_is_followed(
  made: Settings,
) -> None:
  given = flat(made)
  free = {
    "run_directory": "elsewhere",
    "store_directory": "elsewhere",
    "engine": "local[2]",
    "max_steps": 5,
    "eval_every": 7,
    "checkpoint_every": 9,
    "keep_checkpoints": 3,
    "keep_days": 7,
    "observe_every": 11,
    "steps_per_call": 3,
    "on_divergence": "continue",
    "max_seconds": 60.0,
    "stuck_after_seconds": 60.0,
  }
  assert set(free) == {"run_directory", "store_directory", "engine", *_fields(ProgressSettings)}
  assert Settings.of(**{**given, **free}).identity() == made.identity()
  for name, value in (
    ("seed", 5),
    ("batch_size", 64),
    ("learning_rate", 0.5),
    ("learning_rate_multiplier", 2.0),
    ("window_hours", "all"),
    ("without_last_days", 1),
    ("without_tasks", ["like"]),
    ("method_name", "other"),
    ("shadows", {}),
    ("schedule", lambda peak: LinearWarmUp(peak, 9)),
  ):
    other = Settings.of(**{**given, name: value})
    assert other.identity() != made.identity(), name


def test_differences_name_the_value_that_changed_and_both_of_its_values() -> None:
  one = read(config="small_clippy", scale="proxy").identity()
  other = read(
    config="small_clippy",
    scale="proxy",
    bindings=["Clippy.absolute_threshold=2e-3", "train_and_evaluate.seed=4", "Synthetic.days=9"],
  ).identity()
  assert differences(json.loads(json.dumps(one)), one) == []
  found = differences(one, other)
  assert "log.source.Synthetic.days: 14, now 9" in found
  assert "training.seed: 0, now 4" in found
  path = "training.optimizer.OptimizerSettings.clip.Clippy.absolute_threshold"
  assert f"{path}: 0.001, now 0.002" in found


def test_calls_end_wherever_something_is_due_and_at_the_last_step() -> None:
  assert list(ProgressSettings().calls(0, 25)) == [10, 20, 25]
  assert list(ProgressSettings(eval_every=8).calls(0, 25)) == [8, 16, 24, 25]
  both = ProgressSettings(eval_every=8, checkpoint_every=20)
  assert list(both.calls(12, 25)) == [16, 20, 24, 25]
  observed = ProgressSettings(eval_every=8, observe_every=5)
  assert list(observed.calls(0, 25)) == [5, 8, 10, 15, 16, 20, 24, 25]
  assert list(ProgressSettings(eval_every=8).calls(25, 25)) == []


def _fields(group: Any) -> list[str]:
  return [field.name for field in dataclasses.fields(group)]
