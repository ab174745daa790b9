"""docs/findings.md: every finding with its verdict, evidence, command and caveat."""

from collections.abc import Mapping, Sequence
from typing import get_args

from experiments.findings.rule import Judgement, Rule, Verdict


def markdown(names: Sequence[str], judgements: Mapping[Rule, Sequence[Judgement]]) -> str:
  """docs/findings.md: a table of all verdicts, then a section for each finding.

  Args:
    names: of the logs.
    judgements: of each finding, log by log.
  """
  lines = [
    "# Do the paper's findings hold on public logs?",
    "",
    *(f"{counts}\n" for counts in map(_counts, names, zip(*judgements.values(), strict=True))),
    "Every verdict follows from finished runs by a rule that is written down in "
    "`experiments/findings/`; `make findings` writes this page. They are of layers of one "
    "eighth of the paper's widths, and of two seeds or more. Undecided is what too few runs, too "
    "wide an interval, or no runs by today's rule cannot tell. Differences of AUC are in points "
    "(hundredths), with half their 95 % interval. A run has diverged when its loss is that of a "
    "constant (`ranking/stability/divergence.py`): one that has not may still be of no use.",
    "",
    f"| | finding of the paper | {' | '.join(names)} |",
    f"|---|---|{'---|' * len(names)}",
  ]
  for rule, of_rule in judgements.items():
    verdicts = " | ".join(each.verdict for each in of_rule)
    lines.append(f"| [{rule.name}](#{rule.name.lower()}) | {rule.finding} | {verdicts} |")
  for rule, of_rule in judgements.items():
    lines += ["", f"## {rule.name}", "", f"{rule.finding}.", "", f"- **Rule.** {rule.rule}"]
    for name, each in zip(names, of_rule, strict=True):
      command = rule.command.format(log=name)
      lines.append(f"- **{name}: {each.verdict}.** {each.evidence}. `{command}`")
    lines.append(f"- **Caveat.** {rule.caveat}")
  return "\n".join(lines) + "\n"


def _counts(log: str, judgements: Sequence[Judgement]) -> str:
  counts = [
    f"{sum(each.verdict == verdict for each in judgements)} {verdict}"
    for verdict in get_args(Verdict)
  ]
  return f"On {log}, of {len(judgements)} findings {', '.join(counts)}."
