"""docs/scale.md: its figures are those of its script, and these those of others."""

from pathlib import Path

import pytest

from scripts import plan_scale as plan

PAGE = (Path(__file__).parent.parent / "docs" / "scale.md").read_text()


@pytest.mark.parametrize("name", plan.tables())
def test_the_page_has_the_tables_of_the_script(name: str):
  assert plan.tables()[name] in PAGE


def test_the_page_says_what_the_script_computes():
  text = " ".join(PAGE.split())
  weights = plan.parameters()
  assert f"6 × {weights / 1e6:.1f} M × 65,536 = {plan.flop(plan.BATCH) / 1e12:.1f} TFLOP" in text
  flop, moved = plan.COMPILED[8192]
  assert f"× 8,192 is {plan.flop(8192) / 1e9:,.0f})" in text
  assert f"`make tpu-check`: {flop / 1e9:,.0f} GFLOP for 8,192 rows" in text
  assert f"and {moved / 1e9:.1f} GB read and written for those rows" in text
  fixed, each = plan.moved()
  assert f"{fixed / 1e9:.1f} GB and {each / 1e6:.2f} MB a row" in text
  assert f"{plan.activations() / 1e6:.2f} MB" in text
  assert f"{2 * 63 / 64 * weights * plan.FLOAT / 1e6:.0f} MB a step" in text
  assert f"KuaiRand's store has {plan.ROW} bytes" in text
  assert f"gathers {plan.GATHERED / 1e6:.1f} M such rows" in text
  assert f"A block of {plan.BLOCK:,} rows" in text
  size = plan.table_bytes(1e9, 64, 1)
  assert f"{size / 1e9:.0f} GB, the memory of {plan.chips_for(size)} chips" in text
  assert f"{size / 1e9:.0f} GB at 1 GB/s are {size / plan.DISK:.0f} s" in text


def test_weights_are_those_of_table_1_of_the_paper():
  assert f"{plan.parameters() / 1e6:.1f}" == "68.0"


def test_the_compiler_counts_as_many_operations_to_a_hundredth():

  for rows, (flop, _) in plan.COMPILED.items():
    assert plan.flop(rows) == pytest.approx(flop, rel=0.01)


def test_a_step_of_one_chip_talks_to_nobody_and_more_chips_are_never_slower():
  alone, *more = (plan.step(chips) for chips in (1, 2, 8, 64))
  assert alone.gradients == alone.embeddings == 0
  assert [each.seconds for each in more] == sorted((each.seconds for each in more), reverse=True)
  for rows, (_, moved) in plan.COMPILED.items():
    assert plan.accessed(rows) == pytest.approx(moved)
