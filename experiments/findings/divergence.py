"""Which methods diverge, on which models, and whether a diverged run comes back."""

import numpy as np

from experiments.findings.log import SEEDS, Log, by_model, in_points, lost
from experiments.findings.rule import METHODS, MODELS, NEGLIGIBLE, Judgement, Rule, Verdict
from ranking.measures.differences import paired_difference

RECOVERED = 0.01  # of AUC below calm runs, at most
ENOUGH_SEEDS = 3  # that micro-diverged runs are of, for their loss to be told from chance


def _naive_diverges(log: Log) -> Judgement:
  ratios = {model: lost(log.runs("methods", method="naive", model=model)) for model in MODELS}
  if all(ratio.diverged == ratio.runs for ratio in ratios.values()):
    verdict: Verdict = "reproduced"
  elif any(ratio.diverged == 0 for ratio in ratios.values()):
    verdict = "not reproduced"
  else:
    verdict = "undecided"
  return Judgement(verdict, f"naive runs at 1x and 2x that diverged: {by_model(ratios)}")


F1 = Rule(
  "F1",
  "Without treatment all three models diverge at the rates that the treated ones use",
  "Reproduced if every naive run at 1x and 2x diverges; not reproduced if on some model none does.",
  _naive_diverges,
  METHODS,
  "1x is by definition a rate at which naive Large+DCN diverges, so only the two other models"
  " are news; and one rate serves all three.",
)


def _clippy_trains_all(log: Log) -> Judgement:
  ratios = {
    model: lost(log.runs("methods", method="clippy", model=model, learning_rate_multiplier=2.0))
    for model in MODELS
  }
  verdict: Verdict = "not reproduced"
  if all(ratio.diverged == 0 for ratio in ratios.values()):
    verdict = "reproduced"
  return Judgement(verdict, f"Clippy's runs at 2x that diverged: {by_model(ratios)}")


F2 = Rule(
  "F2",
  "Clippy trains every model at 2x",
  "Reproduced if none of its runs at 2x diverges on any model; not reproduced if one does.",
  _clippy_trains_all,
  METHODS,
  "Three seeds a model: a divergence in one run of five would most likely not show.",
)


def _gc_survives_without_dcn(log: Log) -> Judgement:
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
  return Judgement(verdict, f"GC's runs at 2x that diverged: {by_model(ratios)}")


F4 = Rule(
  "F4",
  "GC survives 2x on Small and Large, not on Large+DCN",
  "Reproduced if none of its runs diverges on the first two and all do on the third; not "
  "reproduced if one of the first does or none of the third.",
  _gc_survives_without_dcn,
  METHODS,
  "GC at 0.1, the widest threshold of the paper's grid.",
)


def _micro_divergence_is_harmless(log: Log) -> Judgement:
  runs = log.runs("methods")
  calm, of_model = runs[runs.status == "ok"], ["model", "learning_rate_multiplier"]
  of_method = [*of_model, "method"]
  fellows = calm.groupby(of_method).value.mean().rename("calm")
  micro = runs[(runs.status == "micro_diverged") & np.isfinite(runs.value)]
  micro = micro.join(fellows, on=of_method, how="inner")
  # Runs of one seed begin with the same weights and see the same batches: not news of each other.
  gaps = (micro.value - micro.calm).groupby(micro.seed).mean().to_numpy(float)
  others = calm.groupby(of_model).value.median().rename("calm")
  lost_runs = runs[runs.status == "diverged"].join(others, on=of_model, how="inner")
  full = lost_runs.value.to_numpy(float)
  recovered = int((full > lost_runs.calm - RECOVERED).sum())
  known = full[np.isfinite(full)]
  told = (
    f"{len(known)} fully diverged runs, never stopped, end at AUC {100 * known.min():.1f} to "
    f"{100 * known.max():.1f}, where the median of calm ones is {100 * lost_runs.calm.min():.1f} "
    f"or more; recovered: {recovered}"
    if len(known)
    else "no fully diverged run with calm fellows has an AUC"
  )
  told += (
    f"; {len(micro)} micro-diverged runs of {len(gaps)} seeds have calm fellows of the same setting"
  )
  gap = None
  if len(gaps) >= ENOUGH_SEEDS:
    gap = paired_difference(gaps, np.zeros_like(gaps))
    told += f", AUC {in_points(gap)} points against them"
  verdict: Verdict = "undecided"
  if recovered or (gap is not None and gap.ci95[1] < -NEGLIGIBLE):
    verdict = "not reproduced"
  elif gap is not None and gap.ci95[0] > -5 * NEGLIGIBLE and len(known) >= SEEDS:
    verdict = "reproduced"
  return Judgement(verdict, told)


F14 = Rule(
  "F14",
  "A micro-diverged run recovers to the same quality; a fully diverged one never does",
  "A fully diverged run recovered if it ends less than a point below the median of calm runs of "
  "its model and rate, by any method. Reproduced if none did, and micro-diverged runs are surely "
  "less than half a point below calm ones of the same setting, over three seeds or more; not "
  "reproduced if one did, or the loss is surely more than 0.1 points.",
  _micro_divergence_is_harmless,
  METHODS,
  "One pass over the log: a run that diverges late has little time left to recover. Until it was "
  "seen that lost runs end between 46 and 62, and calm ones at 74, the rule called recovered what "
  "ends above 55.",
)
