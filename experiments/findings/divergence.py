"""Which methods diverge, on which models, and whether a diverged run comes back."""

import numpy as np

from experiments.findings.log import SEEDS, Log
from experiments.findings.rule import FIGURES_COMMAND, NEGLIGIBLE, Found, Rule, decide
from ranking.measures.differences import paired_difference

RECOVERED = 0.01  # of AUC below calm runs, at most
ENOUGH_SEEDS = 3  # that micro-diverged runs are of, for their loss to be told from chance


def _naive_diverges(log: Log) -> Found:
  ratios = log.ratios("naive")
  verdict = decide(
    all(ratio.diverged == ratio.runs for ratio in ratios.values()),
    any(ratio.diverged == 0 for ratio in ratios.values()),
  )
  return verdict, {"ratios": ratios}


F1 = Rule(
  name="F1",
  finding="Without treatment all three models diverge at the rates that the treated ones use",
  rule="Reproduced if every naive run at 1x and 2x diverges; not reproduced if on some model none "
  "does.",
  find=_naive_diverges,
  written="21 November 2026 (f030c61), before its runs; not changed since.",
  command=FIGURES_COMMAND,
  caveat="1x is by definition a rate at which naive Large+DCN diverges, so only the two other "
  "models are news; and one rate serves all three.",
)


def _clippy_trains_all(log: Log) -> Found:
  ratios = log.ratios("clippy", learning_rate_multiplier=2.0)
  diverges = any(ratio.diverged for ratio in ratios.values())
  return decide(not diverges, diverges), {"ratios": ratios}


F2 = Rule(
  name="F2",
  finding="Clippy trains every model at 2x",
  rule="Reproduced if none of its runs at 2x diverges on any model; not reproduced if one does.",
  find=_clippy_trains_all,
  written="21 November 2026 (f030c61), before its runs; not changed since.",
  command=FIGURES_COMMAND,
  caveat="Three seeds a model: a divergence in one run of five would most likely not show.",
)


def _gc_survives_without_dcn(log: Log) -> Found:
  ratios = log.ratios("gc", learning_rate_multiplier=2.0)
  smaller = ratios["small"].diverged + ratios["large"].diverged
  largest = ratios["large_dcn"]
  verdict = decide(
    smaller == 0 and largest.diverged == largest.runs, smaller > 0 or largest.diverged == 0
  )
  return verdict, {"ratios": ratios}


F4 = Rule(
  name="F4",
  finding="GC survives 2x on Small and Large, not on Large+DCN",
  rule="Reproduced if none of its runs diverges on the first two and all do on the third; not "
  "reproduced if one of the first does or none of the third.",
  find=_gc_survives_without_dcn,
  written="21 November 2026 (f030c61), before its runs; not changed since.",
  command=FIGURES_COMMAND,
  caveat="GC at 0.1, the widest threshold of the paper's grid.",
)


def _micro_divergence_is_harmless(log: Log) -> Found:
  runs = log.runs("methods")
  calm, of_model = runs[runs.status == "ok"], ["model", "learning_rate_multiplier"]
  of_method = [*of_model, "method"]
  fellows = calm.groupby(of_method).value.mean().rename("calm")
  micro = runs[(runs.status == "micro_diverged") & np.isfinite(runs.value)]
  micro = micro.join(fellows, on=of_method, how="inner")
  # Runs of one seed begin with the same weights and see the same batches: not news of each other.
  gaps = (micro.value - micro.calm).groupby(micro.seed).mean().to_numpy(float)
  others = calm.groupby(of_model).value.median().rename("calm")
  elsewhere = [  # another task is lost; the one whose AUC this is lives
    str(run.reason).startswith("task ") and not str(run.reason).startswith(f"task {run.task}:")
    for run in runs.itertuples()
  ]
  lost_runs = runs[(runs.status == "diverged") & ~np.array(elsewhere, bool)]
  lost_runs = lost_runs.join(others, on=of_model, how="inner")
  ends = lost_runs.value.to_numpy(float)
  recovered = int((ends > lost_runs.calm - RECOVERED).sum())
  known = ends[np.isfinite(ends)]
  gap = paired_difference(gaps, np.zeros_like(gaps)) if len(gaps) >= ENOUGH_SEEDS else None
  harmful = recovered > 0 or (gap is not None and gap.ci95[1] < -NEGLIGIBLE)
  harmless = gap is not None and gap.ci95[0] > -5 * NEGLIGIBLE and len(known) >= SEEDS
  return decide(harmless and not harmful, harmful), {
    "known": known.tolist(),
    "calm": float(lost_runs.calm.min()),
    "recovered": recovered,
    "micro": len(micro),
    "seeds": len(gaps),
    "gap": gap,
  }


F14 = Rule(
  name="F14",
  finding="A micro-diverged run recovers to the same quality; a fully diverged one never does",
  rule="A fully diverged run recovered if it ends less than a point below the median of calm runs "
  "of its model and rate, by any method. Reproduced if none did, and micro-diverged runs are "
  "surely less than half a point below calm ones of the same setting, over three seeds or more; "
  "not reproduced if one did, or the loss is surely more than 0.1 points.",
  find=_micro_divergence_is_harmless,
  written="21 November 2026 (f030c61), before its runs. Changed after results were seen, on 27 "
  "November: from an AUC of 55 as recovered to a point below calm runs, once lost runs had been "
  "seen to end between 46 and 62 (06f31cf), and to three seeds or more (635545e); on 30 November a "
  "run that lost another task alone was no longer taken for fully diverged, after two such runs "
  "had been counted as recovered.",
  command=FIGURES_COMMAND,
  caveat="One pass over the log: a run that diverges late has little time left to recover.",
)
