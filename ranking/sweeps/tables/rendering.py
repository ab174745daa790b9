"""Writes documents: Markdown to read on GitHub, HTML to put into a page, CSV to compute with.

A title, a paragraph or a cell may say anything: what would be HTML, a link or the end of a cell is
escaped in both formats.
"""

import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ranking.files import write_atomically
from ranking.sweeps.tables.document import Document, Entry, Table

TEMPLATES = Path(__file__).parent.parent / "templates"
CSS = (TEMPLATES / "document.css").read_text().strip()
MARKDOWN = {"plain": "{}", "best": "<u>{}</u>", "remark": "*{}*"}


def environment(
  folder: Path = TEMPLATES, finalize: Callable[[Any], Any] | None = None
) -> jinja2.Environment:
  """How every template of a folder is read; only those called *.html escape what they are given.

  Args:
    folder: of templates.
    finalize: what is done to all that a template shows, in place of that; see `in_markdown`.
  """
  return jinja2.Environment(
    loader=jinja2.FileSystemLoader(folder),
    autoescape=True if finalize else jinja2.select_autoescape(["html"], default=False),
    finalize=finalize,
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
    trim_blocks=True,
    lstrip_blocks=True,
  )


def paragraphs(template: str, folder: Path = TEMPLATES, **fields: Any) -> list[str]:
  """The paragraphs of a text template, a line each; blank lines are between them.

  Args:
    template: a file of the folder, such as "summary.txt".
    folder: of templates.
    **fields: what the template names.
  """
  text = environment(folder).get_template(template).render(fields)
  return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


def words(macro: str, **fields: Any) -> str:
  """A few words for a place in a table, by a macro of words.txt."""
  return str(getattr(_words(), macro)(**fields))


@functools.cache
def _words() -> Any:
  return environment().get_template("words.txt").module


def write(document: Document, stem: Path) -> list[Path]:
  """Writes <stem>.md, <stem>.html and <stem>.csv, each whole or not at all; returns their paths."""
  texts = {
    "md": markdown(document),
    "html": as_html(document),
    "csv": document.figures.to_csv(index=False),
  }
  stem.parent.mkdir(parents=True, exist_ok=True)
  paths = [stem.with_name(f"{stem.name}.{ending}") for ending in texts]
  for path, text in zip(paths, texts.values(), strict=True):
    write_atomically(path, text)
  return paths


def markdown(document: Document) -> str:
  """Headings, paragraphs and tables with pipes."""
  templates = environment()
  templates.filters["inline"] = inline
  template = templates.get_template("document.md")
  return template.render(document=document, markdown_table=markdown_table)


def markdown_table(table: Table) -> str:
  """A table of GitHub's flavour, without its caption."""
  rows = [
    [cell(name) for name in table.header],
    ["---"] * len(table.header),
    *([_entry(entry) for entry in row] for row in table.rows),
  ]
  return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def as_html(document: Document) -> str:
  """A section with its own style, to be put into any page; needs nothing from elsewhere."""
  template = environment().get_template("document.html")
  return template.render(document=document, css=Markup(CSS))


def inline(text: str) -> str:
  """Plain text as Markdown shows it: no tag, no entity, no link, on one line."""
  text = re.sub(r"&(?=#?\w+;)", "&amp;", " ".join(text.split("\n")))
  return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text).replace("](", "\\](")


def cell(text: str) -> str:
  """The same in a cell of a table, which no pipe ends."""
  return inline(text).replace("|", "\\|")


def in_markdown(value: Any) -> Any:
  """What a template of Markdown shows, as text of a cell; what is Markup is shown as it is."""
  is_text = isinstance(value, str) and not isinstance(value, Markup)
  return Markup(cell(value)) if is_text else value


def code(text: str) -> Markup:
  """A code span of Markdown, in more backticks than the text has in a row."""
  runs: Sequence[str] = re.findall("`+", text)
  fence, space = "`" * (1 + max(map(len, runs), default=0)), " " if runs else ""
  return Markup(f"{fence}{space}{text}{space}{fence}")


def _entry(entry: Entry) -> str:
  if not entry.text:
    return ""
  if entry.style != "code":
    return MARKDOWN[entry.style].format(cell(entry.text))
  # Within backticks nothing is HTML, but GitHub takes a pipe for the end of the cell there, too.
  return code(" ".join(entry.text.split("\n")).replace("|", "\\|"))
