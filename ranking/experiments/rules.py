"""The fifteen findings of the paper and their rules; findings.py says what a rule may use."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ranking.experiments import moments, quadratic, series, statistics
from ranking.experiments.figures import dynamics, style
from ranking.experiments.findings import (
  LEVEL,
  SEEDS,
  Judgement,
  Log,
  NotRun,
  Rule,
  Verdict,
  difference,
  in_points,
  lost,
)
from ranking.experiments.series import SeriesError

MODELS = ("small", "large", "large_dcn")
# By the paper's own words a gain of 0.001 is very significant (5.2); what is surely less is none.
NEGLIGIBLE = 0.001
MUCH_LOWER = 0.1  # of a clipping factor: an order of magnitude
NEVER_RECOVERED = 0.55  # AUC
RIVALS = ("Naive", "GC", "AGC", "LAMB")  # the columns that the paper's Table 2 has beside Clippy
METHODS = "make figures DATA={log}"


def naive_diverges(log: Log) -> Judgement:
  """F1."""
  ratios = {model: lost(log.runs("methods", method="naive", model=model)) for model in MODELS}
  if all(ratio.diverged == ratio.runs for ratio in ratios.values()):
    verdict: Verdict = "reproduced"
  elif any(ratio.diverged == 0 for ratio in ratios.values()):
    verdict = "not reproduced"
  else:
    verdict = "undecided"
  return Judgement(verdict, f"naive runs at 1x and 2x that diverged: {_by_model(ratios)}")


def clippy_trains_all(log: Log) -> Judgement:
  """F2."""
  ratios = {
    model: lost(log.runs("methods", method="clippy", model=model, learning_rate_multiplier=2.0))
    for model in MODELS
  }
  verdict: Verdict = "not reproduced"
  if all(ratio.diverged == 0 for ratio in ratios.values()):
    verdict = "reproduced" if min(r.runs for r in ratios.values()) >= SEEDS else "undecided"
  return Judgement(verdict, f"Clippy's runs at 2x that diverged: {_by_model(ratios)}")


def clippy_is_best(log: Log) -> Judgement:
  """F3."""
  rows = log.file("table2", "comparison.csv")
  rows = rows[rows.method.isin(RIVALS)]
  better = rows[rows.outcome == "better"]
  largest = rows[rows.model == "large_dcn"]
  alive = largest[~largest.outcome.str.startswith("diverged")]
  if len(better):
    verdict: Verdict = "not reproduced"
  elif (alive.outcome == "worse").all():
    verdict = "reproduced"
  else:
    verdict = "undecided"
  told = ", ".join(
    f"{row['method']} on {style.MODELS[row['model']]} ({_difference_of(row)})"
    for row in better.to_dict("records")
  )
  closest = alive[alive.measure == "auc"].sort_values("difference", ascending=False)
  evidence = f"better than Clippy after Holm's correction: {told or 'none'}"
  if len(closest):
    best = closest.to_dict("records")[0]
    evidence += f"; the best other method on Large+DCN, {best['method']}: {_difference_of(best)}"
  return Judgement(verdict, evidence)


def gc_survives_without_dcn(log: Log) -> Judgement:
  """F4."""
  ratios = {
    model: lost(log.runs("methods", method="gc", model=model, learning_rate_multiplier=2.0))
    for model in MODELS
  }
  smaller = ratios["small"].diverged + ratios["large"].diverged
  largest = ratios["large_dcn"]
  if smaller == 0 and largest.diverged == largest.runs:
    verdict: Verdict = "reproduced"
  elif smaller or largest.diverged == 0:
    verdict = "not reproduced"
  else:
    verdict = "undecided"
  return Judgement(verdict, f"GC's runs at 2x that diverged: {_by_model(ratios)}")


def agc_is_good_only_at_first(log: Log) -> Judgement:
  """F5."""
  worse, told = {}, []
  for model in MODELS:
    for times in (1.0, 2.0):
      agc, gc = (
        log.runs("methods", method=method, model=model, learning_rate_multiplier=times)
        for method in ("agc", "gc")
      )
      gap = difference(agc, gc)
      spreads = [float(runs.value.std()) for runs in (agc, gc)]
      varied = spreads[0] > 3 * spreads[1] and spreads[0] > NEGLIGIBLE
      worse[model, times] = gap is None or (gap.ci95[1] < 0) or varied
      said = "diverged" if gap is None else in_points(gap)
      told.append(f"{style.MODELS[model]} {times:g}x {said}")
  easy = [worse["small", 1.0], worse["large", 1.0]]
  hard = [bad for setting, bad in worse.items() if setting[1] == 2.0 or setting[0] == "large_dcn"]
  if not any(easy) and all(hard):
    verdict: Verdict = "reproduced"
  elif any(easy) or not any(hard):
    verdict = "not reproduced"
  else:
    verdict = "undecided"
  return Judgement(verdict, f"AGC − GC in points of AUC: {', '.join(told)}")


def lamb_is_stable_and_slow(log: Log) -> Judgement:
  """F6."""
  gaps, ratios = {}, {}
  for model in MODELS:
    lamb, gc = (
      log.runs("methods", method=method, model=model, learning_rate_multiplier=1.0)
      for method in ("lamb", "gc")
    )
    ratios[model], gaps[model] = lost(lamb), difference(lamb, gc)
  diverged = any(ratio.diverged for ratio in ratios.values())
  told = ", ".join(
    f"{style.MODELS[model]} {in_points(gap) if gap else 'no figure'}" for model, gap in gaps.items()
  )
  known = [gap for gap in gaps.values() if gap is not None]
  if not diverged and len(known) == len(gaps) and all(gap.ci95[1] < 0 for gap in known):
    verdict: Verdict = "reproduced"
  elif diverged or any(gap.ci95[0] > -NEGLIGIBLE for gap in known):
    verdict = "not reproduced"
  else:
    verdict = "undecided"
  return Judgement(verdict, f"LAMB − GC at 1x in points of AUC: {told}; none diverged")


def the_gap_to_gc_grows(log: Log) -> Judgement:
  """F7."""
  gaps = {}
  for model in MODELS:
    for times in (1.0, 2.0):
      clippy, gc = (
        log.runs("methods", method=method, model=model, learning_rate_multiplier=times)
        for method in ("clippy", "gc")
      )
      gaps[model, times] = difference(clippy, gc)
  told = ", ".join(
    f"{style.MODELS[model]} {times:g}x {in_points(gap) if gap else 'GC or Clippy diverged'}"
    for (model, times), gap in gaps.items()
  )
  first, last = gaps["small", 1.0], gaps["large_dcn", 2.0]
  if first is None or last is None:
    return Judgement("undecided", f"Clippy − GC in points of AUC: {told}")
  # The same rows judge both, so their errors go together; to add the squares is on the safe side.
  half = 1.96 * math.hypot(first.standard_error, last.standard_error)
  growth = last.value - first.value
  if growth - half > 0 and last.value > 0:
    verdict: Verdict = "reproduced"
  elif growth + half < NEGLIGIBLE:
    verdict = "not reproduced"
  else:
    verdict = "undecided"
  return Judgement(
    verdict,
    f"Clippy − GC in points of AUC: {told}; from the first to the last the gap changes by "
    f"{100 * growth:+.2f} ± {100 * half:.2f}",
  )


def larger_models_are_better(log: Log) -> Judgement:
  """F8."""
  gaps = {}
  for larger, smaller in (("large_dcn", "large"), ("large", "small")):
    runs = [
      log.runs("methods", method="clippy", model=model, learning_rate_multiplier=1.0)
      for model in (larger, smaller)
    ]
    gaps[f"{style.MODELS[larger]} − {style.MODELS[smaller]}"] = difference(*runs)
  told = ", ".join(f"{name} {in_points(gap) if gap else '–'}" for name, gap in gaps.items())
  known = [gap for gap in gaps.values() if gap is not None]
  if len(known) == len(gaps) and all(gap.ci95[0] > 0 for gap in known):
    verdict: Verdict = "reproduced"
  elif any(gap.ci95[1] < NEGLIGIBLE for gap in known):
    verdict = "not reproduced"
  else:
    verdict = "undecided"
  return Judgement(verdict, f"with Clippy at 1x, in points of AUC: {told}")


def clippys_factor_is_lowest(log: Log) -> Judgement:
  """F9."""
  ratios = []
  for run in map(Path, log.runs("dynamics", status="diverged").run):
    try:
      marked = moments.find(series.steps(run))
    except SeriesError:
      continue
    seen = series.observations(run, dynamics.MEASUREMENTS)
    layer = dynamics.representative_layers(seen.variable, series.evaluations(run))
    top = seen[seen.variable == layer["top hidden layer"]]
    least = top[top.step.between(marked.a, marked.c)][["gc", "agc", "clippy"]].min()
    ratios.append(float(least.clippy / min(least.gc, least.agc)))
  if len(ratios) < SEEDS:
    return Judgement("undecided", f"{len(ratios)} runs learned before they diverged")
  lower = sum(ratio <= MUCH_LOWER for ratio in ratios)
  verdict: Verdict = "undecided"
  if lower == len(ratios):
    verdict = "reproduced"
  elif lower == 0:
    verdict = "not reproduced"
  listed = ", ".join(f"{ratio:.2g}" for ratio in sorted(ratios))
  return Judgement(
    verdict,
    "lowest factor of Clippy from step a to step c ÷ the lowest of GC and AGC, top hidden layer, "
    f"of {len(ratios)} runs: {listed}",
  )


def lower_layers_are_clipped_more(log: Log) -> Judgement:
  """F10."""
  told, lower = [], []
  chosen = log.runs("methods", method="clippy", model="large_dcn", learning_rate_multiplier=2.0)
  for run in map(Path, chosen.run):
    factors = series.clipping_factors(run)
    layers = dynamics.representative_layers(factors.variable, series.evaluations(run))
    means = {
      name: float(np.exp(np.log(factors.factor[factors.variable == variable]).mean()))
      for name, variable in layers.items()
    }
    lower.append(means["bottom hidden layer"] < means["top hidden layer"])
    told.append(f"{means['bottom hidden layer']:.3f} and {means['top hidden layer']:.3f}")
  verdict: Verdict = "undecided"
  if len(lower) >= SEEDS and len(set(lower)) == 1:
    verdict = "reproduced" if lower[0] else "not reproduced"
  return Judgement(
    verdict,
    f"geometric mean of Clippy's factor in the bottom and the top hidden layer: {'; '.join(told)}",
  )


def each_simplification_helps(log: Log) -> Judgement:
  """F11."""
  rows = log.file("table3", "table3.csv")
  if rows.ratio.isna().any():
    raise NotRun(f"table3_{log.name}")
  told = ", ".join(
    f"{row['ablation'].replace('_', ' ')} {row['diverged']} of {row['runs']}"
    for row in rows.to_dict("records")
  )
  unchanged, changes = rows.iloc[0], rows.iloc[1:]
  helps = (changes.p_holm <= LEVEL) & (changes.ratio < unchanged.ratio)
  if helps.all():
    verdict: Verdict = "reproduced"
  elif (changes.ratio >= unchanged.ratio).any() and unchanged.ratio > 0:
    verdict = "not reproduced"
  else:
    verdict = "undecided"
  sure = ", ".join(changes.ablation[helps].str.replace("_", " ")) or "none"
  return Judgement(verdict, f"diverged: {told}; told apart from chance after Holm: {sure}")


def the_quadratic_diverges(log: Log) -> Judgement:
  """F12."""
  del log
  ends = {
    name: quadratic.loss(positions[-1]) / quadratic.loss(positions[0])
    for name, positions in quadratic.descents()["gradient descent"].items()
  }
  below, _, above = ends.values()
  told = ", ".join(f"{name} {end:.2g}" for name, end in ends.items())
  return Judgement(
    "reproduced" if below < 1 < above else "not reproduced",
    f"loss after {quadratic.STEPS} steps of gradient descent ÷ loss at the start: {told}; "
    f"2/λ_max = {quadratic.LIMIT:g}",
  )


def windows_and_warm_up_help_small_models(log: Log) -> Judgement:
  """F13."""
  told, saved = [], {}
  for model in MODELS:
    runs = log.runs(f"mitigations_{model}")
    changes = list(dict.fromkeys(runs.ablation))
    ratios = {change: lost(runs[runs.ablation == change]) for change in changes}
    unchanged = ratios.pop("day_constant")
    tests = [statistics.fisher_test(unchanged, ratio).p for ratio in ratios.values()]
    saved[model] = any(
      p <= LEVEL and ratio.value < unchanged.value
      for p, ratio in zip(statistics.holm(tests), ratios.values(), strict=True)
    )
    listed = ", ".join(f"{name.replace('_', ' ')} {r.diverged}" for name, r in ratios.items())
    rate = runs.learning_rate.iloc[0]
    told.append(
      f"{style.MODELS[model]} at {rate:g}, diverged of {unchanged.runs} runs: with a day's window "
      f"and a constant rate {unchanged.diverged}, {listed}"
    )
  if saved["small"] and saved["large"] and not saved["large_dcn"]:
    verdict: Verdict = "reproduced"
  elif saved["large_dcn"] or not (saved["small"] or saved["large"]):
    verdict = "not reproduced"
  else:
    verdict = "undecided"
  return Judgement(verdict, "; ".join(told))


def micro_divergence_is_harmless(log: Log) -> Judgement:
  """F14."""
  runs = log.runs("methods")
  group = ["model", "method", "learning_rate_multiplier"]
  calm = runs[runs.status == "ok"].groupby(group).value.mean().rename("calm")
  micro = runs[runs.status == "micro_diverged"].join(calm, on=group, how="inner")
  gaps = (micro.value - micro.calm).to_numpy(float)
  full = runs[runs.status == "diverged"].value.to_numpy(float)
  full_stay = len(full) >= SEEDS and bool(np.nanmax(full, initial=0.0) < NEVER_RECOVERED)
  told = (
    f"{len(full)} fully diverged runs, never stopped, end at AUC {100 * np.nanmin(full):.1f} to "
    f"{100 * np.nanmax(full):.1f}"
    if len(full)
    else "no run diverged fully"
  )
  told += f"; {len(gaps)} micro-diverged runs have calm fellows of the same setting"
  if len(gaps) < SEEDS:
    return Judgement("undecided", told)
  gap = statistics.paired_difference(micro.value.to_numpy(float), micro.calm.to_numpy(float))
  told += f", AUC {in_points(gap)} points against them"
  if full_stay and gap.ci95[0] > -5 * NEGLIGIBLE:
    verdict: Verdict = "reproduced"
  elif not full_stay or gap.ci95[1] < -NEGLIGIBLE:
    verdict = "not reproduced"
  else:
    verdict = "undecided"
  return Judgement(verdict, told)


def clippy_helps_adam(log: Log) -> Judgement:
  """F15."""
  runs = log.runs("adam")
  told, saved, harmed = [], [], []
  for rate in sorted(set(runs.learning_rate)):
    of_rate = runs[runs.learning_rate == rate]
    naive, clippy = (lost(of_rate[of_rate.method == name]) for name in ("naive", "clippy"))
    test = statistics.fisher_test(naive, clippy)
    told.append(
      f"{rate:g}: plain {naive.diverged} of {naive.runs}, with Clippy {clippy.diverged} of "
      f"{clippy.runs} (p {test.p:.3f})"
    )
    saved.append(test.p <= LEVEL and clippy.value < naive.value)
    harmed.append(clippy.diverged > naive.diverged)
  verdict: Verdict = "undecided"
  if any(saved) and not any(harmed):
    verdict = "reproduced"
  elif any(harmed):
    verdict = "not reproduced"
  return Judgement(
    verdict, f"Adam on Large+DCN, runs that diverged by learning rate: {'; '.join(told)}"
  )


def _by_model(ratios: dict[str, statistics.Ratio]) -> str:
  return ", ".join(
    f"{style.MODELS[model]} {ratio.diverged} of {ratio.runs}" for model, ratio in ratios.items()
  )


def _difference_of(row: Mapping[Any, Any]) -> str:
  """Of a row of comparison.csv, with half its 95 % interval."""
  half = (row["ci95_high"] - row["ci95_low"]) / 2
  if row["measure"] == "auc":
    return f"{100 * row['difference']:+.2f} ± {100 * half:.2f} points of AUC"
  return f"{row['difference']:+.4f} ± {half:.4f} of RMSE"


RULES = (
  Rule(
    "F1",
    "Without treatment all three models diverge at the rates that the treated ones use",
    "Reproduced if every naive run at 1x and 2x diverges; not reproduced if on some model none "
    "does.",
    naive_diverges,
    METHODS,
    "1x is by definition a rate at which naive Large+DCN diverges, so only the two other models"
    " are news; and one rate serves all three.",
  ),
  Rule(
    "F2",
    "Clippy trains every model at 2x",
    "Reproduced if none of its runs at 2x diverges on any model; not reproduced if one does.",
    clippy_trains_all,
    METHODS,
    "Three seeds a model: a divergence in one run of five would most likely not show.",
  ),
  Rule(
    "F3",
    "Clippy has the best or tied-best AUC and RMSE on every model, clearly so on Large+DCN",
    "Reproduced if after Holm's correction no other method of the paper is better on any model and "
    "all are worse on Large+DCN; not reproduced if one is better.",
    clippy_is_best,
    "make table2 compare DATA={log}",
    "Clippy at the paper's thresholds, unsearched, against the best of six settings of its rivals.",
  ),
  Rule(
    "F4",
    "GC survives 2x on Small and Large, not on Large+DCN",
    "Reproduced if none of its runs diverges on the first two and all do on the third; not "
    "reproduced if one of the first does or none of the third.",
    gc_survives_without_dcn,
    METHODS,
    "GC at 0.1, the widest threshold of the paper's grid.",
  ),
  Rule(
    "F5",
    "AGC is good at 1x, bad or of high variance at 2x and on Large+DCN",
    "Bad: diverged, surely below GC on the same rows, or three times its spread over seeds. "
    "Reproduced if AGC is not bad on Small and Large at 1x, and bad elsewhere; not reproduced "
    "if it is bad there or nowhere else.",
    agc_is_good_only_at_first,
    METHODS,
    "AGC as its authors do it, by output unit and without the output layers, at 1e-2.",
  ),
  Rule(
    "F6",
    "LAMB at 1x is stable but converges worse",
    "Reproduced if no run diverges and all models are surely below GC; not reproduced if one "
    "diverges or a model is not below by 0.1 points.",
    lamb_is_stable_and_slow,
    METHODS,
    "LAMB's multiplier is its learning rate: at 1e-2; a tenfold one may do better, see Table 2.",
  ),
  Rule(
    "F7",
    "The gap of Clippy to GC grows with model complexity and learning rate",
    "Reproduced if it surely grows from Small at 1x to Large+DCN at 2x and is positive there; "
    "not reproduced if it surely grows by less than 0.1 points.",
    the_gap_to_gc_grows,
    METHODS,
    "Both at the thresholds of configs/methods/.",
  ),
  Rule(
    "F8",
    "With Clippy, Large+DCN > Large > Small",
    "Reproduced if both steps are surely positive; not reproduced if one is surely below 0.1 "
    "points.",
    larger_models_are_better,
    METHODS,
    "A log of some hundred thousand rows may be too small for the larger models to pay.",
  ),
  Rule(
    "F9",
    "When divergence begins, Clippy's factor is orders of magnitude below GC's and AGC's",
    "The lowest factors from step a to step c of naive runs that learned before they diverged, "
    "top hidden layer. Reproduced if Clippy's is at most a tenth of both in every run; not "
    "reproduced if in none.",
    clippys_factor_is_lowest,
    METHODS,
    "What the clips would have done in runs that none of them steered, at the paper's thresholds.",
  ),
  Rule(
    "F10",
    "Clippy clips lower layers more",
    "Reproduced if with every seed the geometric mean of its factor is lower in the bottom than"
    " in the top hidden layer of Large+DCN at 2x; not reproduced if with none.",
    lower_layers_are_clipped_more,
    METHODS,
    "Two layers of four; Figure 6 shows the others.",
  ),
  Rule(
    "F11",
    "A smaller model, no DCN, fewer features, fewer tasks each lower the divergence ratio",
    "Reproduced if each does after Holm's correction; not reproduced if one does not lower it "
    "at all.",
    each_simplification_helps,
    "make table3 DATA={log}",
    "Ten runs a change: only large differences can be told from chance.",
  ),
  Rule(
    "F12",
    "The quadratic diverges beyond 2/λ_max",
    "Reproduced if the loss shrinks at 0.9 of it and grows at 1.1.",
    the_quadratic_diverges,
    METHODS,
    "Computed; it is a theorem.",
  ),
  Rule(
    "F13",
    "A wider window and a slower warm-up help, and stop helping as the model grows",
    "Reproduced if some of them saves runs of Small and of Large, after Holm's correction, and "
    "none of Large+DCN; not reproduced if one saves Large+DCN, or none the two others.",
    windows_and_warm_up_help_small_models,
    "make sweep SWEEP=experiments/mitigations_large_dcn_{log}.gin",
    "Each model at the lowest rate at which all its runs are lost without them.",
  ),
  Rule(
    "F14",
    "A micro-diverged run recovers to the same quality; a fully diverged one never does",
    "Reproduced if no fully diverged run ends above an AUC of 55, and micro-diverged runs are "
    "surely less than half a point below calm ones of the same setting; not reproduced if one "
    "recovers or the loss is surely more than 0.1 points.",
    micro_divergence_is_harmless,
    METHODS,
    "One pass over the log: a run that diverges late has little time left to recover.",
  ),
  Rule(
    "F15",
    "Clippy helps Adam as well",
    "Reproduced if at some rate fewer runs diverge with Clippy, by Fisher's test, and at none "
    "more.",
    clippy_helps_adam,
    "make sweep SWEEP=experiments/adam_{log}.gin",
    "The best rate of Adam here is one at which it needs no help.",
  ),
)
