"""What a rule is: it says of the runs of a log whether they reproduce a finding of the paper.

A rule sees the finished runs of one log and says "reproduced", "not reproduced" or "undecided"; it
was written before its runs were looked at. No verdict rests on one seed, and none on an experiment
that is not finished as a whole.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal, NamedTuple

from experiments.findings.log import Log, NotRun

Verdict = Literal["reproduced", "not reproduced", "undecided"]
MODELS = ("small", "large", "large_dcn")
# By the paper's own words a gain of 0.001 is very significant (5.2); what is surely less is none.
NEGLIGIBLE = 0.001
METHODS = "make figures DATA={log}"


class Judgement(NamedTuple):
  """What a rule says of a log, and the figures that it says so by."""

  verdict: Verdict
  evidence: str


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
