"""The pages of models and choices: settings exist, examples can be read, parameters are counted."""

import re
from pathlib import Path

import pytest
import tensorflow as tf
import tf_keras

from ranking import configuration, settings
from ranking.models.bodies import Block, Body
from ranking.models.bodies.shared_bottom import SharedBottom
from ranking.models.towers import Towers
from ranking.optimizers import Clippy
from tests.toy_model import SIX, with_history

DOCS = Path(__file__).parent.parent / "docs"
CHOICES, MODELS = ((DOCS / f"{name}.md").read_text() for name in ("choices", "models"))
TASKS = 6


def example(page: str, folder: Path) -> str:
  """The configuration file that a page shows, as a file."""
  (text,) = re.findall(r"```\n((?:THRESHOLD|train_and_evaluate)\b.*?)```", page, re.DOTALL)
  path = folder / "mine.gin"
  path.write_text(text)
  return str(path)


def test_the_page_of_choices_has_every_setting_of_a_run_and_no_other() -> None:
  _, _, after = CHOICES.partition("| setting of `train_and_evaluate` |")
  rows = after.partition("\n\n")[0].splitlines()[1:]
  listed = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
  not_for_a_person = {"source", "lookback", "model", "optimizer", "monitor", "distribution"}
  not_for_a_person |= {"run_directory", "model_name", "method_name", "scale_name"}
  assert listed == set(settings.NAMES) - not_for_a_person


@pytest.mark.parametrize(("page", "least"), [(CHOICES, 8), (MODELS, 8)], ids=["choices", "models"])
def test_every_other_setting_that_a_page_names_exists(page: str, least: int) -> None:
  known = {
    f"{name}.{argument}"
    for name in configuration.CONFIGURABLE
    for argument in configuration.parameters(name, configuration.CONFIGURABLE)
  }
  named = set(re.findall(r"`([A-Z]\w+\.[a-z]\w+)`", page))
  assert len(named) >= least
  assert named <= known


def test_the_method_that_the_page_of_choices_shows_can_be_read(tmp_path: Path) -> None:
  read = configuration.read(model="large", method=example(CHOICES, tmp_path))
  assert read.training.optimizer.clip == Clippy(absolute_threshold=1e-3)
  assert read.names.method_name == "clippy_tighter"


def test_the_model_that_its_page_shows_can_be_read(tmp_path: Path) -> None:
  model = configuration.read(model=example(MODELS, tmp_path), method="clippy").training.model
  assert isinstance(model.body, SharedBottom)
  assert [type(block).__name__ for block in model.body.blocks] == [
    "CrossLayers",
    "LayerNorm",
    "DenseLayers",
  ]
  assert model.towers == Towers([64])


@pytest.mark.parametrize(
  ("config", "cross", "width", "layers", "millions"),
  [
    (config, int(cross or 0), int(width), int(layers), millions)
    for config, cross, width, layers, millions in re.findall(
      r"^\| `(\w+?)_?(?:\*|clippy)` \| (?:(\d) cross.*?)?(\d+) × (\d).*? \| ([\d.]+) M \|",
      CHOICES,
      re.MULTILINE,
    )
  ],
)
def test_the_page_of_choices_counts_parameters_right(
  config: str, cross: int, width: int, layers: int, millions: str
) -> None:
  d = configuration.read(model=config, method="clippy").training.model.inputs.input_width
  crossed = cross * (d * d + d) + (2 * d if cross else 0)  # and the LayerNorm
  dense = (d + 1) * width + (layers - 1) * (width + 1) * width
  assert f"{(crossed + dense + TASKS * (width + 1)) / 1e6:.2f}" == millions


def test_the_page_of_models_has_every_file_of_them_with_its_parameters(
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  listed = dict(re.findall(r"^\| `(\w+)` \| .* \| ([\d.]+) M \|$", MODELS, re.MULTILINE))
  for drawn in ("GlorotUniform", "TruncatedNormal", "RandomUniform"):  # 0.4 billion in all
    kind = getattr(tf_keras.initializers, drawn)
    monkeypatch.setattr(kind, "__call__", lambda self, shape, dtype, **_: tf.zeros(shape, dtype))
  found = {}
  for name in configuration.names()["MODEL"]:
    model = configuration.read(model=name, method="clippy").training.model
    network = model.build(with_history(SIX))
    found[name] = f"{network.parameter_counts()['non_embedding'] / 1e6:.2f}"
  assert listed == found


def test_the_page_of_models_names_every_body_and_block() -> None:
  known = {
    name
    for name, made in configuration.CONFIGURABLE.items()
    if isinstance(made, type) and issubclass(made, Body | Block)
  }
  assert known == set(re.findall(r"^\| `(\w+)\(.*\)` \|", MODELS, re.MULTILINE))
