"""Pages are jinja2 templates over figures; text that is put into them is escaped, in either format.

Templates have the words, Python the figures: no sentence of a page is assembled elsewhere.
"""

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from ranking.sweeps.figures import style
from ranking.sweeps.tables.document import p_text
from ranking.sweeps.tables.rendering import inline
from ranking.tasks import MEASURES

TEMPLATES = Path(__file__).with_name("templates")
COLUMN_NAMES = {"clippy_tighter": "Clippy, searched"}


def render(template: str, **figures: Any) -> str:
  """A page of templates/, as HTML where its name ends so, else as Markdown."""
  environment = HTML if template.endswith(".html") else MARKDOWN
  return environment.get_template(template).render(figures)


def evidence(macro: str, **figures: Any) -> str:
  """What a macro of evidence.txt says, on one line of plain text, which pages escape."""
  said = getattr(TEXT.get_template("evidence.txt").module, macro)(**figures)
  return " ".join(said.split())


def in_markdown(value: Any) -> Any:
  """Text as Markdown shows it: no tag or link begins in it, and no cell of a table ends."""
  if isinstance(value, str) and not isinstance(value, Markup):
    return Markup(inline(value).replace("|", "\\|"))
  return value


def code(text: str) -> Markup:
  """A code span of Markdown, in more backticks than the text has in a row."""
  longest = max((len(run) for run in re.findall("`+", text)), default=0)
  fence, gap = "`" * (longest + 1), " " if longest else ""
  return Markup(f"{fence}{gap}{text}{gap}{fence}")


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


def signed(difference: float, measure: str) -> str:
  """A difference with its sign; what prints as none has none."""
  text = MEASURES[measure].text(abs(difference))
  sign = "−" if difference < 0 else "+"
  return f"{sign}{text}" if float(text) else text


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


def _environment(
  autoescape: bool, finalize: Callable[[Any], Any] | None = None
) -> jinja2.Environment:
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATES),
    undefined=jinja2.StrictUndefined,
    autoescape=autoescape,
    finalize=finalize,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
  )
  for each in FILTERS:
    environment.filters[each.__name__] = each
  environment.tests["nan"] = lambda value: isinstance(value, float) and math.isnan(value)
  return environment


HTML = _environment(autoescape=True)
MARKDOWN = _environment(autoescape=True, finalize=in_markdown)
TEXT = _environment(autoescape=False)
