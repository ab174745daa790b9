"""Names become settings, and what cannot is one line with its place; a file runs nothing."""

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest

from ranking import configuration
from ranking.configuration import CONFIGS, ConfigError, read, split_bindings
from ranking.data.sources.kuairand import KuaiRand
from ranking.data.sources.movielens import MovieLens
from ranking.data.sources.table import Table
from ranking.optimizers import Clippy, Lamb
from ranking.settings import Settings

NAMES = configuration.names()
HEADER = "from __gin__ import dynamic_registration\nfrom ranking.training import loop\n"
SMALL = "include 'configs/small_clippy.gin'\n"


def settings_of(*bindings: str, config: str = "small_clippy", **more: Any) -> Settings:
  return read(config=config, **{"scale": "proxy", **more}, bindings=bindings)


def written(folder: Path, text: str, name: str = "mine.gin") -> str:
  (folder / name).write_text(text)
  return str(folder / name)


@pytest.mark.parametrize("config", NAMES["CONFIG"])
def test_a_config_is_the_model_and_the_method_of_its_name_with_every_log_and_scale(
  config: str,
) -> None:
  for data, scale in itertools.product(NAMES["DATA"], NAMES["SCALE"]):
    made = read(config=config, data=data, scale=scale)
    assert f"{made.names.model_name}_{made.names.method_name}" == config
    assert made.names.scale_name == scale
    assert made.log.source.name == {"table": "shop"}.get(data, data)
    parts = {"model": made.names.model_name, "method": made.names.method_name}
    assert read(**parts, data=data, scale=scale) == made


def test_models_and_methods_add_up(tmp_path: Path) -> None:
  for model, method in itertools.product(NAMES["MODEL"], NAMES["METHOD"]):
    made = read(model=model, method=method, scale="proxy")
    assert (made.names.model_name, made.names.method_name) == (model, method)
  changed = read(config="small_clippy", method="lamb", scale="proxy")
  assert isinstance(changed.training.optimizer.clip, Lamb)
  own = written(
    tmp_path, "train_and_evaluate.method_name = 'mine'\nClippy.absolute_threshold = 0.5"
  )
  mine = read(config="small_clippy", method=own, scale="proxy")
  assert mine.training.optimizer.clip == Clippy(0.5, 0.5)


@pytest.mark.parametrize("config", NAMES["CONFIG"])
def test_the_header_of_a_config_says_what_it_is_its_command_and_what_to_expect(config: str) -> None:
  text = (CONFIGS / f"{config}.gin").read_text()
  header = [line for line in text.splitlines() if line.startswith("#")]
  assert len(header) >= 3
  assert f"make train CONFIG={config}.gin" in text
  assert "expect" in text.lower()
  body = [line for line in text.splitlines() if line and not line.startswith("#")]
  assert all(line.startswith("include ") for line in body)


def test_bindings_are_split_before_names_and_not_inside_values() -> None:
  text = "a.b=1  c.d=[2, 3] e.f='x y=3 z.z=4' s/g.h = @K() i.j={'k': 1}"
  assert split_bindings(text) == [
    "a.b=1",
    "c.d=[2, 3]",
    "e.f='x y=3 z.z=4'",
    "s/g.h = @K()",
    "i.j={'k': 1}",
  ]
  assert split_bindings(" ") == []


@pytest.mark.parametrize("text", ["seed", "3 a.b=1", "import os", "a b.c=3"])
def test_what_is_no_binding_is_refused(text: str) -> None:
  with pytest.raises(ConfigError, match=r"is not of the form name\.argument=value"):
    split_bindings(text)


def test_a_later_binding_wins_whatever_module_stands_before_its_name() -> None:
  seeds = ("train_and_evaluate.seed=3", "loop.train_and_evaluate.seed = 4")
  assert settings_of(*seeds).training.seed == 4
  assert settings_of(*reversed(seeds)).training.seed == 3


def test_another_clip_can_be_bound_to_a_config() -> None:
  made = settings_of("ClippedOptimizer.clip=@Lamb()", "Lamb.multiplier=0.5")
  assert made.training.optimizer.clip == Lamb(0.5)


def test_a_macro_stands_for_its_value(tmp_path: Path) -> None:
  text = f"{SMALL}STEPS = 5\ntrain_and_evaluate.max_steps = %STEPS\n"
  assert settings_of(config=written(tmp_path, text)).progress.max_steps == 5


@pytest.mark.parametrize(
  ("line", "message"),
  [
    ("MODLE = 3", "MODLE is a macro, which nothing reads"),
    ("train_and_evaluate.seed = %nothing", "no macro nothing for %nothing; define it"),
    ("A = 3\ntrain_and_evaluate.seed = [%A, %B]", "no macro B for %B; valid are A"),
    ("loop.train_and_evaluate.sead = 3", r"mine.gin, line 4: no setting loop.*sead; the nearest"),
    ("DivergenceMonitor.steps = 3", "line 4: no setting DivergenceMonitor.steps"),
    ("LinearWarmUp.peak = 3", "line 4: no setting LinearWarmUp.peak"),
    ("ClippedOptimizer.exclude = [1", r"^\S+mine.gin: a bracket or a quote is left open$"),
    ("ClippedOptimizer.exclude = '''a", r"^\S+mine.gin: a bracket or a quote is left open$"),
    ("include 'nowhere.gin'", "line 4: no file nowhere.gin to include"),
    ("include 'mine.gin'", "mine.gin includes itself, by way of"),
    ("train_and_evaluate.seed = three", "Failed to parse token 'three'"),
    ("train_and_evaluate.schedule = @LinearWarmUp()", r"nothing sets LinearWarmUp\.peak"),
    ("train_and_evaluate.seed = @train_and_evaluate()", "no @train_and_evaluate can be configured"),
    ("train_and_evaluate.seed = 3 4", "one plain value belongs here"),
  ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line_with_its_place(
  tmp_path: Path, line: str, message: str
) -> None:
  with pytest.raises(ConfigError, match=message) as refused:
    settings_of(config=written(tmp_path, f"{HEADER}{SMALL}{line}\n"))
  assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
  "text",
  [
    "import subprocess\n",
    "from os import path\n",
    "train_and_evaluate.distribution = @subprocess.getoutput\n",
    "from ranking.training import result\n"
    "train_and_evaluate.distribution = @result.subprocess.getoutput\n",
    "train_and_evaluate.source = @open()\n",
    "train_and_evaluate.source = @singleton()\n",
  ],
)
def test_a_file_of_somebody_else_can_call_nothing_outside_this_package(
  tmp_path: Path, text: str
) -> None:
  with pytest.raises(ConfigError, match=r"is no module of ranking|can be configured"):
    settings_of(config=written(tmp_path, text + SMALL))


def test_a_file_includes_those_beside_it_and_those_of_the_package(tmp_path: Path) -> None:
  written(tmp_path, "train_and_evaluate.seed = 7\n", "inner.gin")
  outer = written(tmp_path, f"{SMALL}include 'inner.gin'\n")
  assert settings_of(config=outer).training.seed == 7


OWN = (
  "from ranking.data.sources import table\nloop.train_and_evaluate.source = @table.Table()\n"
  "Table.time = 'when'\nTable.binary = ['bought']\nTable.categorical = ['user']\n"
)


def test_the_learning_rate_of_ones_own_log_holds_at_every_scale(tmp_path: Path) -> None:
  own = written(tmp_path, OWN + "loop.train_and_evaluate.learning_rate = 0.01\n")
  for scale, width in (("paper", 1.0), ("proxy", 0.125)):
    made = settings_of("train_and_evaluate.batch_size=8", data=own, scale=scale)
    assert made.training.learning_rate == 0.01
    assert made.training.model.width_scale == width


def test_a_log_that_leaves_out_what_has_no_default_is_refused_in_one_line(tmp_path: Path) -> None:
  with pytest.raises(ConfigError, match=r"^nothing sets train_and_evaluate.learning_rate; bind"):
    settings_of(data=written(tmp_path, OWN))


def test_raw_goes_to_the_source_that_is_configured_whatever_its_file_is_called(
  tmp_path: Path,
) -> None:
  copy = str(shutil.copy(CONFIGS / "data" / "kuairand.gin", tmp_path / "again.gin"))
  for data in ("kuairand.gin", copy, str(CONFIGS / "data" / "kuairand.gin")):
    source = settings_of(data=data, raw="some where").log.source
    assert isinstance(source, KuaiRand)
    assert source.raw == "some where"
  own = written(tmp_path, OWN + "loop.train_and_evaluate.learning_rate = 0.01\n")
  source = settings_of(data=own, raw="a").log.source
  assert isinstance(source, Table)
  assert source.raw == "a"
  source = settings_of(data="movielens", raw="b").log.source
  assert isinstance(source, MovieLens)
  assert source.raw == "b"
  with pytest.raises(ConfigError, match="DATA 'synthetic' reads no raw folder; leave RAW out"):
    settings_of(raw="c")


@pytest.mark.parametrize(
  "binding",
  ["Adam.beta_1=0.8", "KuaiRand.keep_duplicates=True", "mine/Clippy.absolute_threshold=1"],
)
def test_a_binding_that_nothing_reads_is_refused(binding: str) -> None:
  with pytest.raises(ConfigError, match="has no effect: this run does not use"):
    settings_of(binding)


@pytest.mark.parametrize(
  "binding",
  [
    "Clippy.absolute_threshold=5",
    "GradientClipping.threshold=5",
    "AdaptiveGradientClipping.threshold=5",
    "Lamb.multiplier=5",
    "RmsClip.threshold=5",
  ],
)
def test_a_threshold_of_a_clip_that_only_shadows_counts_where_shadows_are_observed(
  binding: str,
) -> None:
  with pytest.raises(ConfigError, match="has no effect: this run does not use"):
    settings_of(binding, config="small_naive")
  observed = settings_of(binding, "train_and_evaluate.observe_every=5", config="small_naive")
  assert 5 in [vars(clip).get(binding.split(".")[1][:-2]) for clip in observed.shadows.values()]


def test_a_setting_that_a_file_binds_by_a_macro_can_be_bound_again(tmp_path: Path) -> None:
  text = f"{SMALL}STEPS = 5\ntrain_and_evaluate.max_steps = %STEPS\n"
  made = settings_of("train_and_evaluate.max_steps=2", config=written(tmp_path, text))
  assert made.progress.max_steps == 2


def test_the_operative_configuration_makes_the_same_settings_whatever_log_and_scale_are_given(
  tmp_path: Path,
) -> None:
  made = settings_of(
    "train_and_evaluate.schedule=@LinearWarmUp",
    "LinearWarmUp.warmup_steps=9",
    "Synthetic.days=5",
    config="large_dcn_agc",
  )
  again = read(config=written(tmp_path, configuration.operative()), data="kuairand")
  assert again.identity() == made.identity()
  assert again.progress == made.progress
