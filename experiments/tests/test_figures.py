"""The paper's figures on small frames: what is in them, and that they are the same every time."""

import math
import xml.etree.ElementTree
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.figures import comparison, dynamics, quadratic, stability
from experiments.figures.moments import Moments
from ranking.sweeps.figures import style

LAYERS = {
  "DCN layer": "cross_1/dense/kernel",
  "bottom hidden layer": "hidden_1/kernel",
  "top hidden layer": "hidden_4/kernel",
  "binary task": "click_logit/kernel",
  "regression task": "seconds_logit/kernel",
}
TASKS = pd.DataFrame(
  {"task": ["click", "like", "seconds"], "kind": ["binary", "binary", "regression"]}
)
MOMENTS = Moments(20, 21, 25)


def curve(last: float, task: str = "click") -> dynamics.Curve:
  """Forty steps with a loss that is not finite, and five evaluations, one without AUC."""
  loss = np.linspace(1.0, 0.8, 40)
  loss[30:] = last
  loss[35] = math.inf
  steps = pd.DataFrame({"step": 1 + np.arange(40), "relative_loss": loss})
  auc = pd.DataFrame({"step": [8, 16, 24, 32, 40], "value": [0.6, 0.65, 0.7, math.nan, 0.5]})
  return dynamics.Curve(steps, auc.assign(task=task, kind="binary"))


def observations() -> pd.DataFrame:
  rows = [
    {
      "step": step,
      "variable": variable,
      "gradient_norm": 0.1 * step,
      "weight_norm": 4.0,
      "largest_ratio": math.inf if step == 3 else 2.0 * step,
      "gc": 1 / step,
      "agc": 0.5,
      "clippy": 1e-3,
    }
    for step in range(1, 41)
    for variable in LAYERS.values()
  ]
  return pd.DataFrame(rows)


def factors() -> pd.DataFrame:
  return pd.DataFrame(
    [
      {"step": step, "variable": variable, "factor": 1.0 if step % 4 else 0.02}
      for step in range(1, 41)
      for variable in LAYERS.values()
    ]
  )


def seeds(*last: float) -> list[pd.DataFrame]:
  steps = np.arange(10, 101, 10)
  return [
    pd.DataFrame({"step": steps, "value": np.linspace(0.5, end, 10), "task": "click"})
    for end in last
  ]


def settings() -> dict[str, dict[str, list[pd.DataFrame]]]:
  return {
    "1x": {"clippy": seeds(0.74, 0.72), "gc": seeds(0.73), "naive": seeds(0.48)},
    "2x": {"clippy": seeds(0.75), "lamb": seeds(math.nan)},
  }


FIGURES = {
  "1": lambda: dynamics.loss_and_auc({"micro-diverged": curve(0.8), "diverged": curve(50.0)}),
  "3": lambda: stability.on_the_quadratic(quadratic.descents()),
  "4a": lambda: dynamics.loss_and_auc({"diverged": curve(50.0)}, MOMENTS, (10, 35)),
  "4b": lambda: dynamics.measurements(
    observations(), {"top hidden layer": "hidden_4/kernel"}, MOMENTS, (10, 35)
  ),
  "5": lambda: comparison.auc_over_time(settings()),
  "6": lambda: dynamics.factors_by_layer(factors(), LAYERS),
  "8": lambda: dynamics.measurements(
    observations(), dict(list(LAYERS.items())[1:4]), MOMENTS, (10, 35)
  ),
}


def names(axes: Axes) -> list[str]:
  """What the lines of the axes are called, those that have a name."""
  return [str(line.get_label()) for line in axes.lines if not str(line.get_label()).startswith("_")]


def legend(figure: Figure) -> list[str]:
  return [text.get_text() for each in figure.legends for text in each.get_texts()]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_a_column_wide_and_the_same_bytes_every_time(name: str, tmp_path: Path):
  written = [style.save(FIGURES[name](), tmp_path / folder / f"figure_{name}") for folder in "ab"]
  assert [path.name for path in written[0]] == [f"figure_{name}.png", f"figure_{name}.svg"]
  for first, second in zip(*written, strict=True):
    assert first.read_bytes() == second.read_bytes()
  assert written[0][0].read_bytes().startswith(b"\x89PNG")
  svg = xml.etree.ElementTree.parse(written[0][1]).getroot()
  assert svg.get("width") == f"{72 * 3.3:g}pt"


@pytest.mark.parametrize("name", FIGURES)
def test_lines_of_one_panel_differ_in_colour_and_in_dashes(name: str):
  for axes in FIGURES[name]().axes:
    named = [line for line in axes.lines if str(line.get_label()) in names(axes)]
    assert len({line.get_color() for line in named}) == len(named)
    assert len({str(line._dash_pattern) for line in named}) == len(named)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", FIGURES)
def test_every_axis_says_what_it_is(name: str):
  figure = FIGURES[name]()
  grid = [axes.get_subplotspec() for axes in figure.axes]
  for axes, place in zip(figure.axes, grid, strict=True):
    assert place is not None
    assert axes.get_xlabel() or not place.is_last_row()
    assert axes.get_ylabel() or figure.get_supylabel() or not place.is_first_col()


def test_figure_1_has_a_loss_and_an_auc_for_each_run():
  figure = FIGURES["1"]()
  loss, auc = figure.axes
  assert names(loss) == names(auc) == legend(figure) == ["micro-diverged", "diverged"]
  assert loss.get_ylim() == pytest.approx((0.8 - 0.05 * 0.7, 1.5), abs=0.01)
  assert auc.get_ylabel() == "click AUC\non day N"
  assert [len(line.get_xdata()) for line in auc.lines[:2]] == [4, 4]  # type: ignore[arg-type]


def test_figure_4a_marks_the_three_steps_in_both_panels():
  for axes in FIGURES["4a"]().axes:
    assert [text.get_text() for text in axes.texts] == ["a", "b", "c"]
    marks = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]  # type: ignore[index]
    assert marks == list(MOMENTS)
    assert axes.get_xlim() == (10, 35)


def test_steps_that_are_the_same_have_one_mark():
  figure = dynamics.loss_and_auc({"diverged": curve(50.0)}, Moments(20, 25, 25))
  assert [text.get_text() for text in figure.axes[0].texts] == ["a", "b, c"]


def test_figure_8_has_measurements_on_the_left_and_factors_on_the_right():
  figure = FIGURES["8"]()
  axes = figure.axes
  assert len(axes) == 6
  assert legend(figure) == ["GC: ‖g‖₂", "AGC: ‖g‖₂ / ‖w‖₂", "Clippy: ‖r / w‖∞"]
  for left, right in zip(axes[::2], axes[1::2], strict=True):
    assert names(left) == legend(figure)
    assert names(right) == ["GC", "AGC", "Clippy"]
    assert left.get_xlim() == (10, 35)
    gradient, ratio = (np.asarray(line.get_ydata(), float) for line in left.lines[:2])
    np.testing.assert_allclose(gradient, 4.0 * ratio)
  titles = [left.get_title(loc="left") for left in axes[::2]]
  assert titles == ["bottom hidden layer", "top hidden layer", "binary task"]


def test_figure_5_draws_the_mean_over_seeds_and_starts_where_what_learned_was():
  figure = FIGURES["5"]()
  first, second = figure.axes
  clippy = next(line for line in first.lines if line.get_label() == "Clippy")
  assert clippy.get_ydata()[-1] == pytest.approx(0.73)  # type: ignore[index]
  assert first.get_ylim()[0] > 0.5
  assert [text.get_text() for text in first.texts] == ["naive: lost, below"]
  assert [text.get_text() for text in second.texts] == ["LAMB: lost, below"]
  assert legend(figure) == ["Clippy", "GC", "naive", "LAMB"]


def test_the_mean_of_figure_5_ends_where_a_seed_is_lost():
  whole, other = seeds(0.74, 0.73)
  half = other.assign(value=other.value.where(other.step < other.step.max()))
  (axes,) = comparison.auc_over_time({"2x": {"gc": [whole, half]}}).axes
  drawn = np.asarray(axes.lines[0].get_ydata())
  assert np.isnan(drawn[-1])
  assert np.isfinite(drawn[:-1]).all()


def test_figure_5_of_methods_that_are_all_lost_shows_them():
  (axes,) = comparison.auc_over_time({"2x": {"naive": seeds(0.48)}}).axes
  assert axes.get_ylim()[0] < 0.48


def test_figure_6_has_a_panel_for_each_layer_and_says_how_often_it_is_clipped():
  axes = FIGURES["6"]().axes
  titles = [panel.get_title(loc="left") for panel in axes]
  assert titles == [f"{name}: clipped in 25% of steps" for name in LAYERS]
  assert axes[0].get_ylim()[0] == pytest.approx(0.01)


def test_the_layers_shown_are_kernels_of_both_ends_and_of_the_first_task_of_each_kind():
  variables = [
    f"{layer}/{part}"
    for layer in (
      "hidden_1",
      "hidden_2",
      "hidden_3",
      "hidden_4",
      "cross_1/dense",
      "cross_2/dense_1",
      "click_logit",
      "like_logit",
      "seconds_logit",
    )
    for part in ("kernel", "bias")
  ]
  assert dynamics.representative_layers(variables, TASKS) == LAYERS


def test_a_model_without_cross_layers_has_no_dcn_layer():
  variables = [name for name in LAYERS.values() if not name.startswith("cross")]
  layers = dynamics.representative_layers(variables, TASKS)
  assert layers == {name: kernel for name, kernel in LAYERS.items() if name != "DCN layer"}


def test_the_layers_of_experts_are_found_behind_their_names():
  experts = [f"level_{level}/click_expert_1/hidden_1/kernel" for level in (1, 2)]
  logits = [kernel for kernel in LAYERS.values() if "_logit" in kernel]
  layers = dynamics.representative_layers([*experts, *logits], TASKS)
  assert [layers[f"{end} hidden layer"] for end in ("bottom", "top")] == experts
  assert list(dynamics.representative_layers(logits, TASKS)) == ["binary task", "regression task"]
