"""What was judged before, so that a machine without the runs keeps their verdicts.

experiments/findings.json has, by log and finding, the rule in its words and what it said of the
runs. Runs that are here are judged anew; a finding whose runs are not here keeps its judgement for
as long as its rule reads the same.
"""

import json
from pathlib import Path

from experiments import templating
from experiments.findings.log import Log, NotRun
from experiments.findings.rule import Judgement, Rule
from ranking.errors import InputError
from ranking.files import write_atomically

FIELDS = ("rule", "verdict", "evidence")


class Archive:
  """The judgements in a file, which need not be there yet.

  Raises InputError if the file is damaged.
  """

  def __init__(self, path: Path):
    self._path = path
    self._entries: dict[str, dict[str, dict[str, str]]] = {}
    if path.is_file():
      try:
        self._entries = {
          log: {rule: {name: entry[name] for name in FIELDS} for rule, entry in of_log.items()}
          for log, of_log in json.loads(path.read_text()).items()
        }
      except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no archive of findings; restore or remove it") from error

  def judge(self, rule: Rule, log: Log) -> tuple[Judgement, bool]:
    """The rule's judgement, and whether it is an earlier one, kept because its runs are gone."""
    of_log = self._entries.setdefault(log.name, {})
    entry = of_log.get(rule.name)
    try:
      judgement = rule.judge(log)
    except NotRun as missing:
      if entry is None or entry["rule"] != rule.rule:
        earlier = "" if entry is None else entry["verdict"]
        told = templating.evidence("not_run", missing=missing, earlier=earlier)
        return Judgement("undecided", told), False
      return Judgement(entry["verdict"], entry["evidence"]), True  # type: ignore[arg-type]
    of_log[rule.name] = {"rule": rule.rule, **judgement._asdict()}
    return judgement, False

  def of_rule(self, name: str) -> dict[str, dict[str, str]]:
    """What is archived of a finding, by log: its FIELDS."""
    return {log: entries[name] for log, entries in self._entries.items() if name in entries}

  def save(self) -> None:
    """Writes the file, whole or not at all."""
    write_atomically(self._path, json.dumps(self._entries, indent=1, ensure_ascii=False) + "\n")
