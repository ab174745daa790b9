"""Every configuration parses with every log and scale, and means what its name says."""

import itertools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import gin
import pytest

from ranking import configuration
from ranking.configuration import CONFIGS, ConfigError, configure, qualify, split_bindings

METHODS = {
  "naive": "NoClip",
  "gc": "GradientClipping",
  "agc": "AdaptiveGradientClipping",
  "lamb": "Lamb",
  "clippy": "@clipping.Clippy",
  "layer_clippy": "LayerClippy",
}
HIDDEN = {
  "small": [512] * 2,
  "small_2048": [2048] * 2,
  "large": [4096] * 4,
  "large_dcn": [4096] * 4,
}
NAMES = configuration.names()


@pytest.fixture(autouse=True)
def _clear() -> Iterator[None]:
  yield
  gin.clear_config()


def bound(name: str) -> object:
  return gin.query_parameter(name)


def test_every_model_has_every_method_and_one_is_as_wide_as_its_count() -> None:
  grid = {f"{model}_{method}" for model in ("small", "large", "large_dcn") for method in METHODS}
  assert set(NAMES["CONFIG"]) == grid | {"small_2048_clippy"}


@pytest.mark.parametrize("config", NAMES["CONFIG"])
def test_a_config_parses_with_every_log_and_scale_and_means_what_its_name_says(config: str) -> None:
  method = max((name for name in METHODS if config.endswith(f"_{name}")), key=len)
  model = config.removesuffix(f"_{method}")
  for data, scale in itertools.product(NAMES["DATA"], NAMES["SCALE"]):
    configure(config, data, scale, None, ["train_and_evaluate.seed=3"])
    assert bound("train_and_evaluate.seed") == 3
    assert bound("train_and_evaluate.model_name") == model
    assert bound("train_and_evaluate.method_name") == method
    assert bound("train_and_evaluate.scale_name") == scale
    assert METHODS[method] in str(bound("ClippedOptimizer.clip"))
    assert bound("DenseLayers.hidden_units") == HIDDEN[model]
    crossed = "[@cross.CrossLayers(), @layer_norm.LayerNorm(), @dense.DenseLayers()]"
    blocks = crossed if model == "large_dcn" else "[@dense.DenseLayers()]"
    assert str(bound("SharedBottom.blocks")) == blocks
    if model == "large_dcn":
      assert bound("CrossLayers.num_cross_layers") == 4
    assert bound("Model.width_scale") == {"paper": 1.0, "proxy": 0.125}[scale]
    assert data in str(bound("train_and_evaluate.source"))


@pytest.mark.parametrize("config", NAMES["CONFIG"])
def test_the_header_of_a_config_says_what_it_is_its_command_and_what_to_expect(config: str) -> None:
  text = (CONFIGS / f"{config}.gin").read_text()
  header = [line for line in text.splitlines() if line.startswith("#")]
  assert len(header) >= 3
  assert f"make train CONFIG={config}.gin" in text
  assert "expect" in text.lower()
  body = [line for line in text.splitlines() if line and not line.startswith("#")]
  assert all(line.startswith("include ") for line in body)


def test_no_file_uses_a_macro() -> None:
  for path in CONFIGS.rglob("*.gin"):
    assert not re.search(r"^[A-Z_]+ *=|= *%", path.read_text(), re.MULTILINE), path


@pytest.mark.parametrize(
  ("binding", "full"),
  [
    ("train_and_evaluate.seed=3", "loop.train_and_evaluate.seed = 3"),
    ("loop.train_and_evaluate.seed = 3", "loop.train_and_evaluate.seed = 3"),
    ("Clippy.relative_threshold=0.1", "clipping.Clippy.relative_threshold = 0.1"),
    ("ClippedOptimizer.clip=@Lamb()", "optimizer.ClippedOptimizer.clip = @clipping.Lamb()"),
    ("KuaiRand.raw='a/b'", "kuairand.KuaiRand.raw = 'a/b'"),
  ],
)
def test_a_short_name_gets_its_module(binding: str, full: str) -> None:
  assert qualify(binding) == full


def test_bindings_are_split_before_names_and_not_inside_values() -> None:
  text = "a.b=1  c.d=[2, 3] e.f='x y' g.h = @K()"
  assert split_bindings(text) == ["a.b=1", "c.d=[2, 3]", "e.f='x y'", "g.h = @K()"]
  assert split_bindings("") == []


def test_a_later_binding_wins() -> None:
  bindings = ["train_and_evaluate.seed=3", "train_and_evaluate.seed=4"]
  configure("small_clippy", "synthetic", "proxy", None, bindings)
  assert bound("train_and_evaluate.seed") == 4


def test_another_method_can_be_bound_to_a_config() -> None:
  configure("small_clippy", "synthetic", "proxy", None, ["ClippedOptimizer.clip=@Lamb()"])
  assert "Lamb" in str(bound("ClippedOptimizer.clip"))


def test_a_macro_in_a_config_file_is_refused(tmp_path: object) -> None:
  path = f"{tmp_path}/mine.gin"
  with open(path, "w") as file:
    file.write("include 'configs/small_clippy.gin'\nMODLE = 3\n")
  with pytest.raises(ConfigError, match="MODLE is a macro, which nothing reads"):
    configure(path, "synthetic", "proxy", None, [])


def test_a_misspelt_argument_in_a_config_file_is_refused_with_its_place(tmp_path: object) -> None:
  path = f"{tmp_path}/mine.gin"
  with open(path, "w") as file:
    file.write(
      "from __gin__ import dynamic_registration\nfrom ranking.training import loop\n"
      "include 'configs/small_clippy.gin'\nloop.train_and_evaluate.sead = 3\n"
    )
  with pytest.raises(ConfigError, match=r"doesn't have a parameter named 'sead'.*line 4"):
    configure(path, "synthetic", "proxy", None, [])


@pytest.mark.parametrize(
  ("line", "message"),
  [
    (
      "optimizer.ClippedOptimizer.exclude = [1",
      r"^\S+mine.gin: a bracket or a quote is left open$",
    ),
    ("optimizer.ClippedOptimizer.exclude = '''a", r"^\S+mine.gin: a bracket or a quote is left"),
    ("from ranking import nothing", r"^No module named 'ranking.nothing' In file .*line 3$"),
  ],
)
def test_a_config_file_that_gin_cannot_read_is_refused_in_one_line(
  tmp_path: object, line: str, message: str
) -> None:
  path = f"{tmp_path}/mine.gin"
  with open(path, "w") as file:
    file.write(
      "from __gin__ import dynamic_registration\nfrom ranking.optimizers import optimizer\n"
    )
    file.write(f"{line}\n")
  with pytest.raises(ConfigError, match=message):
    configure(path, "synthetic", "proxy", None, [])


def test_a_bracket_left_open_in_an_included_file_or_a_binding_is_refused(tmp_path: object) -> None:
  with open(f"{tmp_path}/inner.gin", "w") as file:
    file.write("a.b = [1\n")
  outer = f"{tmp_path}/outer.gin"
  with open(outer, "w") as file:
    file.write(f"include '{tmp_path}/inner.gin'\n")
  with pytest.raises(ConfigError, match=rf"^{outer}: a bracket or a quote is left open$"):
    configure(outer, "synthetic", "proxy", None, [])
  with pytest.raises(ConfigError, match=r"^SET: a bracket or a quote is left open$"):
    configure("small_clippy", "synthetic", "proxy", None, ["DenseLayers.hidden_units=[1, 2"])


OWN = """from __gin__ import dynamic_registration
from ranking.data.sources import table
from ranking.training import loop
loop.train_and_evaluate.source = @table.Table()
"""


def test_the_learning_rate_of_ones_own_log_holds_at_every_scale(tmp_path: Path) -> None:
  own = tmp_path / "mylog.gin"
  own.write_text(OWN + "loop.train_and_evaluate.learning_rate = 0.01\n")
  for scale, width in (("paper", 1.0), ("proxy", 0.125)):
    configure("small_clippy", str(own), scale, None, ["train_and_evaluate.batch_size=8"])
    assert bound("train_and_evaluate.learning_rate") == 0.01
    assert bound("Model.width_scale") == width


def test_a_log_that_leaves_out_what_has_no_default_is_refused_in_one_line(tmp_path: Path) -> None:
  own = tmp_path / "mylog.gin"
  own.write_text(OWN)
  with pytest.raises(ConfigError, match=r"^nothing sets train_and_evaluate.learning_rate; bind it"):
    configure("small_clippy", str(own), "proxy", None, [])


def test_raw_goes_to_the_source_that_is_configured_whatever_its_file_is_called(
  tmp_path: Path,
) -> None:
  copy = tmp_path / "again.gin"
  shutil.copy(CONFIGS / "data" / "kuairand.gin", copy)
  for data in ("kuairand.gin", str(copy), str(CONFIGS / "data" / "kuairand.gin")):
    configure("small_clippy", data, "proxy", "some where", [])
    assert bound("KuaiRand.raw") == "some where"
  (tmp_path / "mylog.gin").write_text(OWN + "loop.train_and_evaluate.learning_rate = 0.01\n")
  configure("small_clippy", str(tmp_path / "mylog.gin"), "proxy", "a", [])
  assert bound("Table.raw") == "a"


def test_raw_goes_to_the_source_that_data_names() -> None:
  configure("small_clippy", "movielens", "proxy", "some where", [])
  assert bound("MovieLens.raw") == "some where"
  configure("small_clippy", "kuairand", "proxy", "else", [])
  assert bound("KuaiRand.raw") == "else"
