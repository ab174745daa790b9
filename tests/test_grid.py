"""Maps and curves of a sweep: what is drawn where, and that nothing is drawn of what is missing."""

import math
import xml.etree.ElementTree
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from ranking.sweeps import results
from ranking.sweeps.figures import curves, grid, limits, style
from ranking.sweeps.places import Place, places
from ranking.sweeps.sweep import Method, Sweep
from tests.test_summary import LOST, OK, End, outcome
from tests.test_sweep_results import hold

RATES = [0.1, 0.2, 0.4]
SWEEP = Sweep("s", ["large"], ["naive", "gc", "clippy"], learning_rates=RATES, seeds=[0, 1])
RUNNING: End = (0.9, 1.0, "running")  # has begun


def good(*aucs: float) -> list[End]:
  return [(auc, 1.5, "ok") for auc in aucs]


# By method and rate; seeds that are missing have not begun.
ENDS: dict[str, list[End]] = {
  "naive-rate=0.1": good(0.70, 0.72),
  "naive-rate=0.2": [LOST, (0.99, 0.1, "diverged")],
  "naive-rate=0.4": [LOST, LOST],
  "gc-rate=0.1": good(0.73, 0.73),
  "gc-rate=0.2": [*good(0.74), (0.99, 0.1, "diverged")],
  "gc-rate=0.4": [LOST],
  "clippy-rate=0.1": good(0.60, 0.40),
  "clippy-rate=0.2": [*good(0.75), RUNNING],
  "clippy-rate=0.4": [(0.745, 1.5, "micro_diverged"), *good(0.745)],
}


def places_of(
  folder: Path, sweep: Sweep = SWEEP, ends: Mapping[str, Sequence[End]] = ENDS
) -> list[Place]:
  """Those of a sweep; a run has the end of the longest key in its name."""
  for trial in sweep.trials():
    key = max((part for part in ends if part in trial.name), key=len)
    place = list(sweep.seeds).index(trial.coordinates["seed"])
    if place < len(ends[key]):
      end = ends[key][place]
      done = {} if end is RUNNING else {"result": outcome(trial, end)}
      hold(folder, trial, **done)
  return places(sweep.trials(), results.read([folder]))


def colours(panel: Axes) -> Any:
  """AUC in percent of every place that has a colour, masked elsewhere: [rows, columns]."""
  (mesh,) = [each for each in panel.collections if isinstance(each, QuadMesh)]
  return mesh.get_array()


def drawn(panel: Axes) -> dict[tuple[str, str], Any]:
  """By the names beside and below: the AUC of its colour, "x", or the text in it with its AUC."""
  rows = [label.get_text() for label in panel.get_yticklabels()]
  below = maps(panel.figure)[-1]  # which alone has names below it
  columns = [label.get_text() for label in below.get_xticklabels()]
  found: dict[tuple[str, str], Any] = {
    (rows[i], columns[j]): round(float(auc), 6) for (i, j), auc in np.ma.ndenumerate(colours(panel))
  }
  for line in panel.lines:
    assert line.get_marker() == "x"
    for x, y in data(line):
      at = rows[int(y)], columns[int(x)]
      assert at not in found
      found[at] = "x"
  for text in panel.texts:
    x, y = text.xy  # type: ignore[attr-defined]
    at = rows[int(y)], columns[int(x)]
    found[at] = text.get_text(), found[at]
  return found


def data(line: Any) -> list[tuple[float, float]]:
  """(x, y) of the points of a line."""
  return list(zip(*map(list, line.get_data()), strict=True))


def maps(figure: Any) -> list[Axes]:
  """Its panels, without the colour bar."""
  return [panel for panel in figure.axes if panel.get_label() != "<colorbar>"]


def test_the_survival_map_has_colours_crosses_and_counts_where_they_belong(tmp_path: Path):
  (panel,) = maps(grid.survival_map(places_of(tmp_path)))
  assert drawn(panel) == {
    ("naive", "0.1"): 71.0,
    ("naive", "0.2"): "x",
    ("naive", "0.4"): "x",
    ("GC", "0.1"): 73.0,
    ("GC", "0.2"): ("1/2", 74.0),
    ("Clippy", "0.1"): 50.0,
    ("Clippy", "0.4"): 74.5,
  }
  assert [label.get_text() for label in panel.get_yticklabels()] == ["naive", "GC", "Clippy"]
  assert panel.get_ylim() == (3, 0)  # the first is on top
  assert panel.get_xlabel() == "learning rate"


def test_a_higher_auc_has_a_lighter_colour_and_what_is_far_below_the_best_the_darkest(
  tmp_path: Path,
):
  figure = grid.survival_map(places_of(tmp_path))
  (panel,) = maps(figure)
  mesh: Any = panel.collections[0]
  values = sorted(float(auc) for auc in colours(panel).compressed())
  assert values == pytest.approx([50, 71, 73, 74, 74.5])
  light = [sum(mesh.to_rgba(value)[:3]) for value in values]
  assert light == sorted(light)
  assert len(set(light)) == len(light)
  assert mesh.get_clim() == pytest.approx((69.5, 74.5))
  assert mesh.colorbar.extend == "min"
  assert to_hex(mesh.to_rgba(50.0)) == to_hex(mesh.to_rgba(69.5))


def test_where_nothing_survived_there_are_crosses_and_no_colour_bar(tmp_path: Path):
  grid_of = places_of(tmp_path, ends={"": [LOST, LOST]})
  figure = grid.survival_map(grid_of)
  assert len(figure.axes) == 1
  assert set(drawn(figure.axes[0]).values()) == {"x"}
  upper, lower = curves.survival_curves(grid_of).axes
  assert len(upper.get_yticks()) == 0
  assert lower.get_ylabel() == "survived"


def test_a_survivor_whose_auc_is_not_finite_leaves_its_place_without_a_colour(tmp_path: Path):
  ends = {**ENDS, "gc-rate=0.1": [OK, ("nan", 1.5, "ok")]}
  (panel,) = maps(grid.survival_map(places_of(tmp_path, ends=ends)))
  assert ("GC", "0.1") not in drawn(panel)


def test_a_map_of_two_thresholds_has_their_values_ascending_from_the_lower_left(tmp_path: Path):
  point = {
    "Clippy.relative_threshold": [0.5, 0.02],
    "Clippy.absolute_threshold": [1e-2, 1e-4],
  }
  sweep = Sweep("s", ["large"], [Method("clippy", thresholds=[point])])
  ends = {
    "relative_threshold=0.5-absolute_threshold=0.01": [LOST],
    "relative_threshold=0.5-absolute_threshold=0.0001": good(0.71),
    "relative_threshold=0.02-absolute_threshold=0.01": good(0.72),
    "relative_threshold=0.02-absolute_threshold=0.0001": good(0.73),
  }
  (panel,) = maps(grid.grid_map(places_of(tmp_path, sweep, ends), *point))
  assert [label.get_text() for label in panel.get_yticklabels()] == ["0.5", "0.02"]
  assert drawn(panel) == {
    **{("0.5", "0.0001"): 71.0, ("0.5", "0.01"): "x"},
    **{("0.02", "0.0001"): 73.0, ("0.02", "0.01"): 72.0},
  }
  assert (panel.get_ylabel(), panel.get_xlabel()) == ("relative threshold", "absolute threshold")


def test_a_method_without_the_threshold_has_a_place_of_its_own(tmp_path: Path):
  clippy = Method("clippy", thresholds=[{"Clippy.absolute_threshold": [1e-2, 1e-3]}])
  other = Method("layer_clippy", "clippy", ["ClippedOptimizer.clip=@LayerClippy()"])
  widths = {"wide": ["Model.width_scale=0.25"], "narrow": ["Model.width_scale=0.1"]}
  sweep = Sweep("s", ["large"], [clippy, other], ablations=widths)
  ends = {"": good(0.7), "layer_clippy": good(0.71), "=0.01-times=1-wide": [LOST]}
  grid_of = places_of(tmp_path, sweep, ends)
  (panel,) = maps(grid.grid_map(grid_of, "ablation", "Clippy.absolute_threshold"))
  assert drawn(panel) == {
    **{("wide", "0.001"): 70.0, ("wide", "0.01"): "x", ("wide", "LayerClippy"): 71.0},
    **{("narrow", "0.001"): 70.0, ("narrow", "0.01"): 70.0, ("narrow", "LayerClippy"): 71.0},
  }


def test_many_lines_stay_in_the_panel_and_methods_without_a_name_differ(tmp_path: Path):
  thresholds = {"Clippy.absolute_threshold": [10.0**-k for k in range(14)]}
  methods = [Method("clippy", thresholds=[thresholds]), Method("mine", "gc"), Method("yours", "gc")]
  sweep = Sweep("s", ["large"], methods, learning_rates=RATES)
  _, share = curves.survival_curves(places_of(tmp_path, sweep, {"": good(0.7)})).axes
  low, high = share.get_ylim()
  assert len(share.lines) == 16
  assert all(low < min(line.get_ydata()) <= max(line.get_ydata()) < high for line in share.lines)  # type: ignore[type-var, arg-type, operator]
  assert len({line.get_marker() for line in share.lines[-2:]}) == 2


def test_what_else_differs_has_a_panel_each_and_one_scale_of_colours(tmp_path: Path):
  sweep = Sweep(
    *("s", ["small", "large_dcn"], ["naive", "gc"]),
    learning_rates=RATES,
    ablations={"none": [], "no_dcn": ["SharedBottom.blocks=[@DenseLayers()]"]},
  )
  ends = {"": good(0.7), "large_dcn-gc": good(0.73), "small-naive-rate=0.4-times=1-no_dcn": [LOST]}
  grid_of = places_of(tmp_path, sweep, ends)
  figure = grid.survival_map(grid_of)
  titles = ["Small, none", "Small, no dcn", "Large+DCN, none", "Large+DCN, no dcn"]
  assert [panel.get_title(loc="left") for panel in maps(figure)] == titles
  assert {panel.collections[0].get_clim() for panel in maps(figure)} == {(70.0, 73.0)}
  assert drawn(maps(figure)[1])["naive", "0.4"] == "x"
  assert drawn(maps(figure)[0])["naive", "0.4"] == 70.0
  upper = curves.survival_curves(grid_of).axes[::2]
  assert [panel.get_title(loc="left") for panel in upper] == titles
  of_gc = [place for place in grid_of if place.at("method") == "gc"]
  (by_model,) = maps(grid.grid_map(of_gc, "model", "ablation"))[:1]
  assert by_model.get_title(loc="left") == "learning rate 0.1"
  assert drawn(by_model) == {
    **{("Small", "none"): 70.0, ("Small", "no dcn"): 70.0},
    **{("Large+DCN", "none"): 73.0, ("Large+DCN", "no dcn"): 73.0},
  }


def test_methods_that_share_a_setting_are_never_in_one_place(tmp_path: Path):
  point = [{"Clippy.relative_threshold": [0.1, 0.5], "Clippy.absolute_threshold": [1e-3, 1e-2]}]
  everywhere = Method("all", "clippy", ["ClippedOptimizer.exclude='x'"], point)
  sweep = Sweep("s", ["large"], [Method("clippy", thresholds=point), everywhere])
  grid_of = places_of(tmp_path, sweep, {"": good(0.7), "-all-": good(0.71)})
  found = maps(grid.grid_map(grid_of, *point[0]))
  assert [panel.get_title(loc="left") for panel in found] == ["Clippy", "all"]
  assert [set(drawn(panel).values()) for panel in found] == [{70.0}, {71.0}]


def test_a_method_with_several_thresholds_has_a_row_and_a_line_for_each(tmp_path: Path):
  gc = Method("gc", thresholds=[{"GradientClipping.threshold": [0.1, 0.01]}])
  clippy = Method("clippy", thresholds=[{"Clippy.relative_threshold": [0.5]}])
  sweep = Sweep("s", ["large"], ["naive", gc, clippy], learning_rates=RATES)
  grid_of = places_of(tmp_path, sweep, {"": good(0.7), "threshold=0.01": good(0.71)})
  (panel,) = maps(grid.survival_map(grid_of))
  names = ["naive", "GC 0.1", "GC 0.01", "Clippy"]
  assert [label.get_text() for label in panel.get_yticklabels()] == names
  assert drawn(panel)["GC 0.01", "0.2"] == 71.0
  figure = curves.survival_curves(grid_of)
  lines = [line for line in figure.axes[0].lines if line.get_label() in names]
  assert [line.get_label() for line in lines] == names
  assert len({(line.get_color(), line.get_marker()) for line in lines}) == 4
  assert lines[1].get_color() == lines[2].get_color() == style.line("gc")["color"]


def test_a_rate_is_the_base_rate_times_the_multiplier(tmp_path: Path):
  sweep = Sweep("s", ["large"], ["gc"], learning_rate_multipliers=[1.0, 3.0])
  (panel,) = maps(grid.survival_map(places_of(tmp_path, sweep, {"": good(0.7)})))
  assert set(drawn(panel)) == {("GC", "0.1"), ("GC", "0.3")}


def lines(panel: Axes) -> dict[str, dict[float, float]]:
  """The points of the lines that have a name."""
  return {
    str(line.get_label()): dict(data(line))
    for line in panel.lines
    if not str(line.get_label()).startswith("_")
  }


def test_the_curves_have_the_survivors_and_the_losses_and_nothing_unfinished(tmp_path: Path):
  figure = curves.survival_curves(places_of(tmp_path))
  upper, lower = figure.axes
  assert {name: list(line) for name, line in lines(upper).items()} == {
    **{"naive": [0.1], "GC": [0.1, 0.2], "Clippy": [0.1, 0.4]}
  }
  assert list(lines(upper)["GC"].values()) == pytest.approx([73.0, 74.0])
  hollow = [line for line in upper.lines if line.get_markerfacecolor() == "white"]
  assert [rate for line in hollow for rate, _ in data(line)] == [0.2]
  crosses = [line for line in upper.lines if line.get_marker() == "x"]
  assert [(line.get_color(), data(line)[0][0]) for line in crosses] == [
    (style.line("naive")["color"], 0.2)
  ]
  lanes = [curves.APART, 0.0, -curves.APART]
  shares: list[list[tuple[float, float]]] = [
    [(0.1, 1), (0.2, 0), (0.4, 0)],
    [(0.1, 1), (0.2, 0.5)],
    [(0.1, 1), (0.4, 1)],
  ]
  for line, lane, expected in zip(lower.lines, lanes, shares, strict=True):
    assert dict(data(line)) == pytest.approx({rate: share + lane for rate, share in expected})
  assert upper.get_xscale() == "log"
  assert [label.get_text() for label in lower.get_xticklabels()] == ["0.1", "0.2", "0.4"]


def test_what_is_lost_at_one_rate_has_its_crosses_above_each_other(tmp_path: Path):
  ends = {"": [LOST, LOST], "clippy": good(0.7, 0.7)}
  upper, _ = curves.survival_curves(places_of(tmp_path, ends=ends)).axes
  (first,), (second,) = (data(line) for line in upper.lines if line.get_marker() == "x")
  assert first[0] == second[0] == 0.1
  assert first[1] < second[1]


def test_limits_end_at_the_highest_rate_that_all_seeds_survive_before_a_loss(tmp_path: Path):
  sweep = Sweep(
    *("s", ["small", "large_dcn"], ["naive", "gc", "clippy"]), learning_rates=RATES, seeds=[0, 1]
  )
  ends = {
    "": good(0.7, 0.7),
    "large_dcn-naive": [LOST, *good(0.7)],
    "large_dcn-gc-rate=0.2": [*good(0.7), LOST],  # what is survived at 0.4 does not count
    "small-naive-rate=0.4": [LOST, LOST],
    "small-gc-rate=0.4": good(0.7),  # a seed is missing
  }
  (panel,) = limits.survival_limits(places_of(tmp_path, sweep, ends)).axes
  assert [label.get_text() for label in panel.get_yticklabels()] == ["Small", "Large+DCN"]
  rows: dict[str, list[Any]] = {"Small": [], "Large+DCN": []}
  for line in panel.lines:
    rate, y = data(line)[-1]
    rows[list(rows)[round(y)]].append((line.get_label(), rate, line.get_marker()))
  assert rows == {
    "Small": [("naive", 0.2, "o"), ("Clippy", 0.4, ">")],
    "Large+DCN": [("naive", 0.1, "x"), ("GC", 0.1, "o"), ("Clippy", 0.4, ">")],
  }
  assert len({data(line)[0][1] for line in panel.lines}) == len(panel.lines)  # none hides another


def test_limits_leave_out_what_has_no_rate_yet(tmp_path: Path):
  ablations = {"none": [], "narrow": ["DenseLayers.hidden_units=[64]"]}
  sweep = Sweep(
    *("s", ["small"], ["naive"]),
    learning_rate_multipliers=[1.0, 2.0],
    seeds=[0],
    ablations=ablations,
  )
  (panel,) = limits.survival_limits(places_of(tmp_path, sweep, {"": good(0.7), "narrow": []})).axes
  assert [data(line)[-1][0] for line in panel.lines] == [0.2]


def ten_methods(folder: Path) -> list[Place]:
  methods = [Method(name, "clippy") for name in style.NAMES]
  sweep = Sweep("s", ["large"], methods, learning_rates=[0.0125 * 2**k for k in range(10)])
  return places_of(folder, sweep, {"": good(0.7), "rate=0.4": [LOST]})


FIGURES: dict[str, Callable[[Path], Figure]] = {
  "survival_map": lambda folder: grid.survival_map(places_of(folder)),
  "survival_curves": lambda folder: curves.survival_curves(places_of(folder)),
  "survival_limits": lambda folder: limits.survival_limits(places_of(folder)),
  "ten_on_a_map": lambda folder: grid.survival_map(ten_methods(folder)),
  "ten_curves": lambda folder: curves.survival_curves(ten_methods(folder)),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_a_column_wide_and_the_same_bytes_every_time(name: str, tmp_path: Path):
  written = [
    style.save(FIGURES[name](tmp_path / part / "s"), tmp_path / part / "out" / name)
    for part in "ab"
  ]
  assert [path.name for path in written[0]] == [f"{name}.png", f"{name}.svg"]
  for first, second in zip(*written, strict=True):
    assert first.read_bytes() == second.read_bytes()
  assert written[0][0].read_bytes().startswith(b"\x89PNG")
  svg = xml.etree.ElementTree.parse(written[0][1]).getroot()
  assert svg.get("width") == f"{72 * 3.3:g}pt"


def test_every_method_with_a_name_has_a_line_of_its_own():
  looks = [style.line(name) for name in style.NAMES] + [style.line("another")]
  assert len({look["color"] for look in looks}) == len(looks)
  assert len({str(look["linestyle"]) for look in looks}) == len(looks)
  assert len(set(style.NAMES.values())) == len(style.NAMES)


@pytest.mark.parametrize(
  ("means", "limits"),
  [
    ([], None),
    ([math.nan], None),
    ([70.0], (69.0, 70.0)),
    ([70.0, 72.0, math.nan], (70.0, 72.0)),
    ([50.0, 74.0, 60.0], (69.0, 74.0)),
  ],
)
def test_colours_reach_from_the_worst_to_the_best_but_no_further_than_five_points(
  means: list[float], limits: tuple[float, float] | None, tmp_path: Path
):
  shown = grid.Headline(places_of(tmp_path)).shown(means)
  assert shown == (limits and pytest.approx(limits))


def test_where_a_low_figure_is_better_the_lowest_has_the_lightest_colour(tmp_path: Path):
  for trial in SWEEP.trials():
    end = outcome(trial, OK)
    end["metrics"] = {"seconds": end["metrics"]["seconds"]}
    end["metrics"]["seconds"]["rmse"] = 1.0 if "gc" in trial.name else 1.2
    hold(tmp_path, trial, result=end)
  figure = grid.survival_map(places(SWEEP.trials(), results.read([tmp_path])))
  (panel,) = maps(figure)
  mesh: Any = panel.collections[0]
  assert mesh.get_clim() == pytest.approx((1.0, 1.2))
  assert sum(mesh.to_rgba(1.0)[:3]) > sum(mesh.to_rgba(1.2)[:3])
  assert figure.axes[-1].get_xlabel() == "mean RMSE of the survivors"


@pytest.mark.parametrize(
  ("losses", "limits"),
  [
    ([[1.0, 0.5, 1e14], [0.9, 0.7]], (0.45, 1.5)),  # a lost run hides no other
    ([[0.8, 0.6], [0.7]], (0.58, 1.0)),  # the constant's loss is always there
    ([[5.0, 9.0, math.inf]], (0.0, 9.0)),  # all are worse
    ([[math.nan]], (0.0, 1.5)),
  ],
)
def test_an_axis_of_losses_has_room_for_what_learns(
  losses: list[list[float]], limits: tuple[float, float]
) -> None:
  assert style.loss_limits([pd.Series(each) for each in losses]) == pytest.approx(limits)
