"""A grid becomes trials: how many, what they are called, in which order, and who runs which."""

import dataclasses
import math
import re
from typing import Any

import pytest

from ranking.sweeps.sweep import Method, Sweep, SweepError, shard

GC = Method("gc", thresholds=[{"GradientClipping.threshold": [1e-1, 1e-2, 1e-3]}])
CLIPPY = Method(
  "clippy",
  thresholds=[
    {"Clippy.relative_threshold": [0.5], "Clippy.absolute_threshold": [1e-2, 1e-3]},
    {"Clippy.relative_threshold": [0.02], "Clippy.absolute_threshold": [1e-3]},
  ],
)
GRID = Sweep(
  name="table2",
  models=["small", "large_dcn"],
  methods=["naive", GC, CLIPPY],
  learning_rates=[0.05, 0.1],
  learning_rate_multipliers=[1.0, 2.0],
  seeds=[0, 1, 2],
  ablations={"none": [], "no_dcn": ["SharedBottom.blocks=[@DenseLayers()]"]},
)


def test_there_is_a_trial_for_every_combination():
  points = 1 + 3 + (1 * 2 + 1 * 1)  # of naive, GC and Clippy
  assert len(GRID.trials()) == 2 * points * 2 * 2 * 3 * 2


def test_every_trial_has_a_name_of_its_own_that_is_a_safe_folder():
  names = [trial.name for trial in GRID.trials()]
  assert len(set(names)) == len(names)
  assert all(re.fullmatch(r"[A-Za-z0-9_.+=-]+", name) for name in names)


def test_a_name_says_all_settings_of_the_trial():
  last = GRID.trials()[-1]
  assert last.name == (
    "large_dcn-clippy-relative_threshold=0.02-absolute_threshold=0.001-rate=0.1-times=2-no_dcn-seed=2"
  )
  assert (last.model, last.method) == ("large_dcn", "clippy")
  assert last.bindings == (
    "Clippy.relative_threshold=0.02",
    "Clippy.absolute_threshold=0.001",
    "train_and_evaluate.learning_rate=0.1",
    "train_and_evaluate.learning_rate_multiplier=2.0",
    "train_and_evaluate.seed=2",
    "SharedBottom.blocks=[@DenseLayers()]",
  )
  assert last.coordinates == {
    "sweep": "table2",
    "model": "large_dcn",
    "method": "clippy",
    "learning_rate": 0.1,
    "learning_rate_multiplier": 2.0,
    "ablation": "no_dcn",
    "days_left_out": 0,
    "seed": 2,
  }
  assert last.thresholds == {"Clippy.relative_threshold": 0.02, "Clippy.absolute_threshold": 0.001}


def test_what_is_left_out_is_left_to_the_configuration():
  (trial,) = Sweep("s", ["small"], ["naive"]).trials()
  assert trial.name == "small-naive-times=1-seed=0"
  assert trial.bindings == (
    "train_and_evaluate.learning_rate_multiplier=1.0",
    "train_and_evaluate.seed=0",
  )
  assert trial.coordinates["learning_rate"] is None


def test_a_method_may_be_another_one_with_bindings_and_has_results_under_its_own_name():
  rms = Method("rms_clip", "naive", ["ClippedOptimizer.clip=@RmsClip()"])
  (trial,) = Sweep("s", ["large"], [rms], bindings=["train_and_evaluate.max_steps=9"]).trials()
  assert (trial.method, trial.coordinates["method"]) == ("naive", "rms_clip")
  assert trial.bindings[:3] == (
    "train_and_evaluate.max_steps=9",
    "ClippedOptimizer.clip=@RmsClip()",
    "train_and_evaluate.method_name='rms_clip'",
  )


def test_a_sweep_that_grows_keeps_the_names_and_bindings_of_its_trials():
  small = Sweep("s", ["small"], ["naive"], seeds=[1]).trials()
  grown = Sweep(
    "s",
    models=["large", "small"],
    methods=["gc", "naive"],
    days_left_out=[1, 0],
    learning_rate_multipliers=[4, 2, 1],
    seeds=[0, 1],
    ablations={"warm_up": ["train_and_evaluate.schedule=@LinearWarmUp"], "none": []},
  ).trials()
  assert all(trial in grown for trial in small)


def test_the_order_is_the_files_and_seeds_come_last():
  trials = GRID.trials()
  assert [t.name for t in trials] == [t.name for t in GRID.trials()]
  assert [t.coordinates["seed"] for t in trials] == sorted(t.coordinates["seed"] for t in trials)
  assert [t.coordinates["method"] for t in trials[:8]] == ["naive"] * 8
  assert trials[0].coordinates["learning_rate"] == 0.05


def test_an_earlier_evaluation_day_is_an_axis_and_the_last_day_has_the_name_it_had_before():
  trials = Sweep("s", ["small"], ["naive"], days_left_out=[0, 2]).trials()
  assert [trial.name for trial in trials] == [
    "small-naive-times=1-seed=0",
    "small-naive-times=1-day_2-seed=0",
  ]
  assert [trial.coordinates["days_left_out"] for trial in trials] == [0, 2]
  assert trials[1].bindings == (*trials[0].bindings, "train_and_evaluate.without_last_days=2")


def test_each_model_may_have_rates_of_its_own():
  rates = {"small": [0.4], "large": [0.1, 0.2]}
  trials = Sweep("s", ["small", "large"], ["naive"], rates, seeds=[0, 1]).trials()
  assert [trial.name for trial in trials] == [
    "small-naive-rate=0.4-times=1-seed=0",
    "large-naive-rate=0.1-times=1-seed=0",
    "large-naive-rate=0.2-times=1-seed=0",
    "small-naive-rate=0.4-times=1-seed=1",
    "large-naive-rate=0.1-times=1-seed=1",
    "large-naive-rate=0.2-times=1-seed=1",
  ]


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_shards_are_the_list_in_parts_of_almost_equal_size(n: int):
  trials = GRID.trials()
  parts = [shard(trials, f"{i}/{n}") for i in range(1, n + 1)]
  assert sorted(t.name for part in parts for t in part) == sorted(t.name for t in trials)
  sizes = [len(part) for part in parts]
  assert max(sizes) - min(sizes) <= 1
  assert parts[0][:2] == [trials[0], trials[n]]


@pytest.mark.parametrize("which", ["3/2", "0/2", "1/0", "2", "1/2/3", "-1/2", "a/b", ""])
def test_a_shard_that_is_none_is_refused(which: str):
  with pytest.raises(SweepError, match=rf"--shard is '{which}'; make it i/n with i from 1 to n"):
    shard(GRID.trials(), which)


def test_a_shard_without_a_trial_is_refused():
  with pytest.raises(SweepError, match="--shard 2/2 of 1 trials is empty; make fewer shards"):
    shard(Sweep("s", ["small"], ["naive"]).trials(), "2/2")


@pytest.mark.parametrize(
  ("axes", "message"),
  [
    ({"models": []}, "models: empty, which leaves no trial"),
    ({"methods": []}, "methods: empty"),
    ({"seeds": []}, "seeds: empty"),
    ({"learning_rates": []}, "learning_rates: empty"),
    ({"learning_rate_multipliers": []}, "learning_rate_multipliers: empty"),
    ({"ablations": {}}, "ablations is {}; make it a map"),
    ({"seeds": 3}, "seeds: 3 is no list; make it a list of int"),
    ({"seeds": [0.5]}, "seeds: 0.5 is no int"),
    ({"seeds": [True]}, "seeds: True is no int"),
    ({"days_left_out": []}, "days_left_out: empty"),
    ({"days_left_out": [1, -1]}, "days_left_out is -1; make it a whole number, 0 or more"),
    ({"days_left_out": [1, 1]}, "two trials are small-naive-times=1-day_1-seed=0"),
    ({"learning_rates": ["fast"]}, "learning_rates is 'fast'; make it a number, 0 or more"),
    ({"learning_rates": [math.nan]}, "learning_rates is nan; make it a number"),
    ({"learning_rates": [None]}, "learning_rates is None; make it a number, 0 or more"),
    ({"learning_rates": {"small": []}}, "learning_rates: empty"),
    (
      {"learning_rates": {"large": [0.1]}},
      r"learning_rates is {'large': \[0.1\]}; give rates of small, and of no other model",
    ),
    ({"data": 3}, "data is 3; make it a file of configs/data/, or a path"),
    ({"scale": 3}, "scale is 3; make it a file of configs/scale/"),
    ({"ablations": {1: []}}, "an ablation is 1; make it its name as text"),
    ({"models": "small"}, "models: 'small' is no list"),
    ({"ablations": {"no_dcn": "a.b=0"}}, "ablation no_dcn: 'a.b=0' is no list"),
    ({"ablations": ["no_dcn"]}, r"ablations is \['no_dcn'\]; make it a map"),
    ({"seeds": [1, 1]}, "two trials are small-naive-times=1-seed=1; name each value"),
    ({"learning_rate_multipliers": [2, 2.0]}, "two trials are small-naive-times=2-seed=0"),
  ],
)
def test_an_axis_that_makes_no_sense_is_refused(axes: dict[str, Any], message: str):
  with pytest.raises(SweepError, match=message):
    dataclasses.replace(Sweep("s", ["small"], ["naive"]), **axes).trials()


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"name": 3}, "name of a method is 3; make it text"),
    ({"config": 3}, "config of gc is 3; make it text"),
    ({"thresholds": []}, "thresholds of gc: empty"),
    ({"thresholds": {"a.b": [1]}}, "thresholds of gc: {.*} is no list"),
    ({"thresholds": [{3: [1]}]}, "a setting of gc is 3; make it its name as text"),
    ({"thresholds": [{"a.b": []}]}, "a.b of gc: empty"),
    ({"thresholds": [{"a.b": "0.1"}]}, "a.b of gc: '0.1' is no list"),
    ({"bindings": "a.b=1"}, "bindings of gc: 'a.b=1' is no list"),
  ],
)
def test_a_method_that_makes_no_sense_is_refused(settings: dict[str, Any], message: str):
  with pytest.raises(SweepError, match=message):
    Method(**{"name": "gc", **settings})
