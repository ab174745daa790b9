"""Documents: a title, paragraphs and tables of entries to be printed; rendering.py writes them."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import pandas as pd

from ranking.tasks import MEASURES

NOTHING = "–"


@dataclasses.dataclass(frozen=True)
class Entry:
  """What one place of a table says.

  Attributes:
    text: one line.
    style: "best" is underlined, a "remark" stands where there is no figure, "code" is a command.
    hint: the commands that made it, a line each, for a format that can show them.
  """

  text: str
  style: Literal["plain", "best", "remark", "code"] = "plain"
  hint: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
  """A caption, the names of the columns, and rows of as many entries; a long one is folded."""

  caption: str
  header: Sequence[str]
  rows: Sequence[Sequence[Entry]]
  folded: bool = False


@dataclasses.dataclass(frozen=True)
class Document:
  """A page.

  Attributes:
    title: of the page.
    paragraphs: what was done.
    tables: the one that it is about first, then its appendix.
    figures: those of the tables to the last digit, for a CSV file.
  """

  title: str
  paragraphs: Sequence[str]
  tables: Sequence[Table]
  figures: pd.DataFrame


def p_text(p: float) -> str:
  """A p-value; NOTHING for nan."""
  return NOTHING if math.isnan(p) else "< 0.001" if p < 0.0005 else f"{p:.3f}"


def spread_text(measure: str, mean: float, deviation: float) -> str:
  """Mean ± standard deviation; the mean alone of one run."""
  text = MEASURES[measure].text
  return text(mean) if math.isnan(deviation) else f"{text(mean)} ± {text(deviation)}"


def signed(difference: float, measure: str) -> str:
  """A difference with its sign; what prints as none has none."""
  text = MEASURES[measure].text(abs(difference))
  sign = "−" if difference < 0 else "+"
  return f"{sign}{text}" if float(text) else text
