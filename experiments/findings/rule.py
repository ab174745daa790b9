"""What a rule is: it says of the runs of a log whether they reproduce a finding of the paper.

A rule sees the finished runs of one log and says "reproduced", "not reproduced" or "undecided". No
verdict rests on one seed, and none on an experiment that is not finished as a whole. Whether a rule
was written before its runs were looked at is said of each, in `Rule.written`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from experiments import templating
from experiments.findings.log import Log

Verdict = Literal["reproduced", "not reproduced", "undecided"]
Found = tuple[Verdict, Mapping[str, Any]]
# By the paper's own words a gain of 0.001 is very significant (5.2); what is surely less is none.
NEGLIGIBLE = 0.001
FIGURES_COMMAND = "make figures DATA={log}"


class Judgement(NamedTuple):
  """What a rule says of a log, and the figures that it says so by, in words."""

  verdict: Verdict
  evidence: str


@dataclasses.dataclass(frozen=True)
class Rule:
  """A finding of the paper, when a log reproduces it, and all the words that a page has of it.

  Attributes:
    name: F1 to F15, and F9b.
    finding: what the paper says.
    rule: when a log reproduces it, and when it does not; else it is undecided.
    find: the rule as a function of the runs: its verdict, and the figures by name that the macro of
      its name in templates/evidence.txt says. Raises NotRun.
    written: when the rule was written and last changed, and what of its runs had been seen by then.
    command: what makes its runs, with {log} for the log.
    caveat: what the verdict does not show.
  """

  name: str
  finding: str
  rule: str
  find: Callable[[Log], Found]
  written: str
  command: str
  caveat: str

  def judge(self, log: Log) -> Judgement:
    """Says what the runs of a log show. Raises NotRun where they are not there."""
    verdict, figures = self.find(log)
    return Judgement(verdict, templating.evidence(self.name, **figures))


def decide(reproduced: bool, not_reproduced: bool) -> Verdict:
  """The verdict of a rule: the first of the two that holds, and undecided where neither does."""
  return "reproduced" if reproduced else "not reproduced" if not_reproduced else "undecided"
