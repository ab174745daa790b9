"""Pages are jinja2 templates over figures; text that is put into them is escaped, in either format.

Templates have the words, Python the figures: no sentence of a page is assembled elsewhere.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from ranking.sweeps.figures import style
from ranking.sweeps.tables import rendering
from ranking.sweeps.tables.document import p_text, signed
from ranking.sweeps.tables.rendering import code
from ranking.tasks import MEASURES

TEMPLATES = Path(__file__).with_name("templates")
COLUMN_NAMES = {"clippy_tighter": "Clippy, searched"}


def render(template: str, **figures: Any) -> str:
  """A page of templates/, as HTML or Markdown, as its name ends."""
  environment = MARKDOWN if template.endswith(".md") else OTHER
  return environment.get_template(template).render(figures)


def evidence(macro: str, **figures: Any) -> str:
  """What a macro of evidence.txt says, on one line of plain text, which pages escape."""
  said = getattr(OTHER.get_template("evidence.txt").module, macro)(**figures)
  return " ".join(said.split())


def model(name: str) -> str:
  """A model as the paper calls it: "Large+DCN" for large_dcn."""
  return style.MODELS.get(name, name)


def method(name: str) -> str:
  """A method as tables call it: "GC" for gc."""
  return COLUMN_NAMES.get(name) or style.NAMES.get(name, name)


def percent(fraction: float, digits: int = 2) -> str:
  """A fraction in percent, without the sign: "73.76" for 0.7376."""
  return f"{100 * fraction:.{digits}f}"


def in_words(number: int) -> str:
  """A small count, as prose has it; larger ones are digits."""
  words = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
  return words[number] if number < len(words) else str(number)


def median(values: Sequence[float]) -> float:
  """Their median, without those that are NaN."""
  return float(np.nanmedian(values))


def p_is(p: float) -> str:
  """A p-value in words: "p = 0.035" or "p < 0.001"."""
  return "p < 0.001" if p < 0.0005 else f"p = {p:.3f}"


def heading(measure: str) -> str:
  """What a column of a measure is called: "AUC (%)"."""
  return MEASURES[measure].heading


FILTERS: tuple[Callable[..., Any], ...] = (
  code,
  heading,
  in_words,
  median,
  method,
  model,
  p_is,
  p_text,
  percent,
  signed,
)


def _environment(finalize: Callable[[Any], Any] | None = None) -> jinja2.Environment:
  environment = rendering.environment(TEMPLATES, finalize)
  environment.filters |= {each.__name__: each for each in FILTERS}
  environment.tests["nan"] = lambda value: isinstance(value, float) and math.isnan(value)
  return environment


MARKDOWN = _environment(rendering.in_markdown)
OTHER = _environment()
