"""Writes documents: Markdown to read on GitHub, HTML to put into a page, CSV to compute with."""

import html
from pathlib import Path

from ranking.files import write_atomically
from ranking.sweeps.tables.document import Document, Entry, Table

# Every rule is below the class, so that a page keeps its own looks.
CSS = """
.ranking-table .scroll { overflow-x: auto; }
.ranking-table table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.ranking-table th, .ranking-table td { padding: 0.2em 0.7em; text-align: left; }
.ranking-table td { border-top: 1px solid #8884; white-space: nowrap; }
.ranking-table thead th { vertical-align: bottom; }
.ranking-table caption, .ranking-table summary { font-weight: bold; text-align: left; }
.ranking-table summary { cursor: pointer; margin-top: 1em; }
""".strip()
MARKDOWN = {"plain": "{}", "best": "<u>{}</u>", "remark": "*{}*", "code": "`{}`"}
HTML = {"plain": "{}", "best": "<u>{}</u>", "remark": "<em>{}</em>", "code": "<code>{}</code>"}


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
  tables = [f"## {table.caption}\n\n{markdown_table(table)}" for table in document.tables]
  return "\n\n".join([f"# {document.title}", *document.paragraphs, *tables]) + "\n"


def markdown_table(table: Table) -> str:
  """Of GitHub's flavour."""
  lines = [list(table.header), ["---"] * len(table.header)]
  lines += [[_in_markdown(entry) for entry in row] for row in table.rows]
  return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_html(document: Document) -> str:
  """A section with its own style, to be put into any page; needs nothing from elsewhere."""
  return "\n".join(
    [
      '<section class="ranking-table">',
      f"<style>\n{CSS}\n</style>",
      f"<h2>{html.escape(document.title)}</h2>",
      *(f"<p>{html.escape(paragraph)}</p>" for paragraph in document.paragraphs),
      *(line for table in document.tables for line in _table_in_html(table)),
      "</section>\n",
    ]
  )


def _in_markdown(entry: Entry) -> str:
  # GitHub takes a pipe for the end of the cell, in code as well.
  return MARKDOWN[entry.style].format(entry.text.replace("|", "\\|")) if entry.text else ""


def _in_html(entry: Entry) -> str:
  hint = f' title="{html.escape(entry.hint)}"' if entry.hint else ""
  return f"<td{hint}>{HTML[entry.style].format(html.escape(entry.text))}</td>"


def _table_in_html(table: Table) -> list[str]:
  caption = html.escape(table.caption)
  head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in table.header)
  opening, closing = '<div class="scroll"><table>', "</table></div>"
  if table.folded:
    opening, closing = f"<details><summary>{caption}</summary>{opening}", f"{closing}</details>"
  else:
    opening += f"<caption>{caption}</caption>"
  body = ["<tr>" + "".join(map(_in_html, row)) + "</tr>" for row in table.rows]
  return [opening, f"<thead><tr>{head}</tr></thead>", "<tbody>", *body, "</tbody>", closing]
