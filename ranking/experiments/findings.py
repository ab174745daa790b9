"""The paper's findings, and the rule by which a log reproduces each or does not.

A rule sees the finished runs of one log and says "reproduced", "not reproduced" or "undecided"; it
was written before its runs were looked at. No verdict rests on one seed: a comparison with fewer
than SEEDS seeds on either side is undecided.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import pandas as pd

from ranking.experiments import paired, results, statistics
from ranking.experiments.outcomes import Count
from ranking.experiments.search import FINISHED
from ranking.experiments.statistics import Difference, Ratio

Verdict = Literal["reproduced", "not reproduced", "undecided"]
SEEDS = 2  # at least, on either side of a comparison
LEVEL = 0.05


class NotRun(Exception):
  """A rule needs runs that are not there: the experiment that has them."""


class Judgement(NamedTuple):
  """What a rule says of a log, and the figures that it says so by."""

  verdict: Verdict
  evidence: str


class Log:
  """The finished runs of every experiment on one log.

  Args:
    name: of the log, as experiments are named: experiments/<what>_<name>.gin.
    root: the folder of all runs.
  """

  def __init__(self, name: str, root: Path):
    self.name, self.root = name, root

  def runs(self, what: str, **coordinates: Any) -> pd.DataFrame:
    """A row per finished run of an experiment, with the columns of results.py.

    Args:
      what: such as "methods" for experiments/methods_<log>.gin.
      **coordinates: columns and the value that is wanted of each.

    Raises:
      NotRun: the experiment has no finished run like that.
    """
    experiment = f"{what}_{self.name}"
    folder = self.root / experiment
    if not any(folder.glob("*/result.json")):
      raise NotRun(experiment)
    runs = results.read([folder]).drop_duplicates("trial")
    runs = runs[runs.status.isin(FINISHED)]
    for column, value in coordinates.items():
      runs = runs[runs[column] == value]
    if runs.empty:
      raise NotRun(experiment)
    return runs

  def file(self, what: str, name: str) -> pd.DataFrame:
    """A CSV that an experiment wrote. Raises NotRun."""
    path = self.root / f"{what}_{self.name}" / name
    if not path.is_file():
      raise NotRun(f"{what}_{self.name}")
    return pd.read_csv(path)


@dataclasses.dataclass(frozen=True)
class Rule:
  """A finding of the paper.

  Attributes:
    name: F1 to F15.
    finding: what the paper says.
    rule: when a log reproduces it, and when it does not; else it is undecided.
    judge: the rule. Raises NotRun.
    command: what makes its runs, with {log} for the log.
    caveat: what the verdict does not show.
  """

  name: str
  finding: str
  rule: str
  judge: Callable[[Log], Judgement]
  command: str
  caveat: str


def judge(rule: Rule, log: Log) -> Judgement:
  """The rule's judgement; undecided where its runs are not there."""
  try:
    return rule.judge(log)
  except NotRun as missing:
    return Judgement("undecided", f"not run: {missing}")


def lost(runs: pd.DataFrame) -> Ratio:
  """The share of finished runs that diverged."""
  count = Count.of(runs)
  return statistics.divergence_ratio(count.diverged, count.finished)


def difference(first: pd.DataFrame, second: pd.DataFrame) -> Difference | None:
  """AUC of the first runs minus that of the second on the same rows of day N, over their seeds.

  None where a run diverged or fewer than SEEDS seeds are on both sides.
  """
  if any((runs.status == "diverged").any() for runs in (first, second)):
    return None
  pairs = first.merge(second, on="seed", suffixes=("", "_of_second"))
  if len(pairs) < SEEDS:
    return None
  return paired.over_seeds(
    [(Path(pair.run), Path(pair.run_of_second)) for pair in pairs.itertuples()], pairs.task.iloc[0]
  )


def in_points(difference: Difference) -> str:
  """A difference of AUCs with half its 95 % interval, in percent."""
  low, high = difference.ci95
  return f"{100 * difference.value:+.2f} ± {50 * (high - low):.2f}"


def markdown(rules: Sequence[Rule], logs: Sequence[Log]) -> str:
  """docs/findings.md: a table of all verdicts, then a section for each finding."""
  judgements = {rule: [judge(rule, log) for log in logs] for rule in rules}
  names = [log.name for log in logs]
  lines = [
    "# Do the paper's findings hold on public logs?",
    "",
    *(f"{counts}\n" for counts in map(_counts, names, zip(*judgements.values(), strict=True))),
    "Every verdict follows from finished runs by a rule that is written down in "
    "`ranking/experiments/rules.py`; `make findings` writes this page. Undecided is what too few "
    "runs, too wide an interval, or no runs at all cannot tell. Differences of AUC are in points "
    "(hundredths), with half their 95 % interval.",
    "",
    f"| | finding of the paper | {' | '.join(names)} |",
    f"|---|---|{'---|' * len(names)}",
  ]
  for rule, of_rule in judgements.items():
    verdicts = " | ".join(each.verdict for each in of_rule)
    lines.append(f"| [{rule.name}](#{rule.name.lower()}) | {rule.finding} | {verdicts} |")
  for rule, of_rule in judgements.items():
    lines += ["", f"## {rule.name}", "", f"{rule.finding}.", "", f"- **Rule.** {rule.rule}"]
    for log, each in zip(logs, of_rule, strict=True):
      command = rule.command.format(log=log.name)
      lines.append(f"- **{log.name}: {each.verdict}.** {each.evidence}. `{command}`")
    lines.append(f"- **Caveat.** {rule.caveat}")
  return "\n".join(lines) + "\n"


def _counts(log: str, judgements: Sequence[Judgement]) -> str:
  counts = [
    f"{sum(each.verdict == verdict for each in judgements)} {verdict}"
    for verdict in get_args(Verdict)
  ]
  return f"On {log}, of {len(judgements)} findings {', '.join(counts)}."
