"""Holm's correction and the difference that a design could have seen."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ranking.measures.significance import detectable_difference, holm

NAN = math.nan
few = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@few
@given(st.lists(st.sampled_from([0.0, 0.001, 0.01, 0.02, 0.02, 0.3, 1.0]), max_size=6))
def test_holm_is_the_closure_of_bonferroni(p_values: list[float]) -> None:
  places = range(len(p_values))
  families = [family for size in places for family in itertools.combinations(places, size + 1)]
  expected = [
    max(min(1.0, len(f) * min(p_values[k] for k in f)) for f in families if place in f)
    for place in places
  ]
  assert holm(p_values) == expected


@pytest.mark.parametrize("bad", [NAN, -0.1, 1.5])
def test_holm_refuses_what_is_no_probability(bad: float) -> None:
  for p_values in ([bad], [0.2, bad, 0.1]):
    with pytest.raises(ValueError, match=rf"a p-value must be in \[0, 1\]; got {bad}"):
      holm(p_values)


def test_the_detectable_difference_is_found_80_times_in_100() -> None:
  assert detectable_difference(0.004) == pytest.approx(0.004 * (1.959964 + 0.841621), rel=1e-6)
  assert math.isnan(detectable_difference(NAN))
  for degrees, power in ((2, 0.766), (6, 0.797), (29, 0.8), (math.inf, 0.8)):
    true = detectable_difference(1.0, degrees)
    if math.isinf(degrees):
      found = stats.norm.sf(1.959964 - true) + stats.norm.cdf(-1.959964 - true)
    else:
      critical = stats.t.ppf(0.975, degrees)
      found = stats.nct.sf(critical, degrees, true) + stats.nct.cdf(-critical, degrees, true)
    assert found == pytest.approx(power, abs=5e-4)
