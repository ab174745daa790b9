"""What a CONFIG, DATA and SCALE resolve to is what golden_configurations.md says."""

import difflib
import itertools

import pytest

from ranking import configuration
from tests import golden_configurations as golden


def test_every_configuration_resolves_to_the_values_of_the_golden_page() -> None:
  wanted, found = golden.PAGE.read_text(), golden.page(golden.resolved_everywhere())
  if wanted != found:
    changed = difflib.unified_diff(wanted.splitlines(), found.splitlines(), "page", "found", n=0)
    pytest.fail("\n".join([*changed, f"if that is meant, write the page anew: {golden.COMMAND}"]))


def test_the_page_has_a_row_for_every_configuration_and_scale() -> None:
  first_cells = {line.split(" | ")[0] for line in golden.PAGE.read_text().splitlines()}
  names = configuration.names()
  for axis in ("CONFIG", "SCALE"):
    assert {f"| {name}" for name in names[axis]} <= first_cells


NAMES = configuration.names()


def pairs() -> set[tuple[str, str]]:
  """Of a model and a method: those that are a file of both names, and each of either once."""
  every = itertools.product(NAMES["MODEL"], NAMES["METHOD"])
  files = {pair for pair in every if "_".join(pair) in NAMES["CONFIG"]}
  models, methods = ({pair[k] for pair in files} for k in (0, 1))
  files |= {(model, "clippy") for model in NAMES["MODEL"] if model not in models}
  return files | {("small", method) for method in NAMES["METHOD"] if method not in methods}


@pytest.mark.parametrize(("model", "method"), sorted(pairs()))
def test_a_model_and_a_method_make_what_the_file_of_both_names_makes(
  model: str, method: str
) -> None:
  combined = configuration.read(model=model, method=method)
  assert (combined.names.model_name, combined.names.method_name) == (model, method)
  if f"{model}_{method}" in NAMES["CONFIG"]:
    assert combined == configuration.read(config=f"{model}_{method}")


def test_a_setting_stands_by_what_changes_it() -> None:
  runs: dict[golden.Key, dict[str, str]] = {
    (config, data, scale): {"rate": data + scale, "clip": config, "seed": "0"}
    for config in ("small", "large")
    for data in ("shop", "kuairand")
    for scale in ("paper", "proxy")
  }
  assert golden.axes_of("rate", runs) == ("DATA", "SCALE")
  assert golden.axes_of("clip", runs) == ("CONFIG",)
  assert golden.axes_of("seed", runs) == ()
