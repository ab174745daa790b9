"""The study's one command: python -m experiments, and one of COMMANDS.

Exit codes are those of `ranking`.
"""

import sys
from collections.abc import Sequence

from ranking import cli

ABOUT = "The study of the paper: its figures, findings, tables and pages."
COMMANDS = {
  "figures": ("experiments.figures.command", "draw the paper's figures, running what is missing"),
  "findings": ("experiments.findings.command", "say which of the paper's findings hold"),
  "report": ("experiments.report", "make one HTML page of all results"),
  "publish": ("experiments.publish", "keep what finished experiments found"),
  "table3": ("experiments.table3", "make Table 3, running what is missing"),
  "transformer": ("experiments.transformer.command", "make Figure 7, running what is missing"),
  "verdicts": ("experiments.verdicts.command", "say how often the verdict of a run is right"),
  "why": ("experiments.why.command", "take runs apart that are lost late"),
}


def main(arguments: Sequence[str]) -> int:
  """Runs one of COMMANDS; see `cli.main`."""
  return cli.main(arguments, "python -m experiments", ABOUT, COMMANDS)


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
