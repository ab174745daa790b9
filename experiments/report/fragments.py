"""Pieces of the report that are made of files: documents, pictures and Markdown.

A piece holds its pictures, and its links are relative to the folder that the page will be in.
"""

import base64
import html
import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import markdown

from ranking.sweeps.tables import rendering

PICTURES = {
  "survival_map": "Survival map: which method survives which learning rate, and how well",
  "survival_curves": "Survival curves: AUC and share of survivors over the learning rate",
  "map": "Map: what became of every setting",
  "figure_1": "Figure 1: loss and AUC of a run that micro-diverged and of one that diverged",
  "figure_3": "Figure 3: optimizers on a quadratic",
  "figure_4a": "Figure 4a: loss and AUC around the divergence, with its steps a, b and c",
  "figure_4b": "Figure 4b: the top hidden layer around the divergence",
  "figure_5a": "Figure 5a: methods over time on Large+DCN",
  "figure_5b": "Figure 5b: Clippy against GC on the three models",
  "figure_6": "Figure 6: Clippy's clipping factor by layer",
  "figure_8": "Figure 8: other layers around the divergence",
}
WIDE = 320  # pt of an SVG; a column of the paper has 238


class ReportError(ValueError):
  """There is nothing to report, or a file cannot be read; the message is one line."""


def find(folder: Path, stem: str) -> Path | None:
  """The document of that name in a folder: as HTML, or as Markdown where it is published."""
  paths = (folder / f"{stem}.{ending}" for ending in ("html", "md"))
  return next((path for path in paths if path.is_file()), None)


def document(
  path: Path, start: Path, styles: list[str], drawn: Sequence[Path] = (), remark: str = ""
) -> str:
  """A document as rendering.py writes it, with smaller headings and links to its files.

  Args:
    path: of `find`; its CSV is beside it.
    start: folder that the page will be in.
    styles: what the page has for all fragments; this one's is moved there.
    drawn: SVG files that stand before its first table.
    remark: behind the links, for a person.
  """
  text = path.read_text() if path.suffix == ".html" else _of_markdown(path)
  for style in re.findall(r"<style>\s*(.*?)\s*</style>", text, re.DOTALL):
    if style not in styles:
      styles.append(style)
  text = re.sub(r"<em>(?=[^<]*diverged)", '<em class="lost">', text)
  text = _demoted(re.sub(r"\s*<style>.*?</style>", "", text, flags=re.DOTALL))
  files = [path.with_suffix(f".{ending}") for ending in ("csv", "md")]
  links = [link(path.parent, start, f"{path.parent.name}/")]
  links += [link(file, start, file.name) for file in files if file.is_file()]
  about = f'<p class="files">{" · ".join([*links, *([html.escape(remark)] if remark else [])])}</p>'
  of = ""
  if path.stem in ("table2", "table3"):
    of = f' <span class="of">{html.escape(path.parent.name.partition("_")[2])}</span>'
  text = text.replace("</h3>", f"{of}</h3>{about}", 1)
  first = '<div class="scroll">'
  return text.replace(first, f"{pictures(drawn, start)}{first}", 1) if drawn else text


def pictures(paths: Sequence[Path], start: Path) -> str:
  """A grid of SVG files; as images, whose inner names cannot clash."""
  return f'<div class="pictures">{"".join(_picture(path, start) for path in paths)}</div>'


def page_of(path: Path, start: Path) -> str:
  """Markdown as HTML: pictures from beside it are embedded, links made relative to the page.

  Raises:
    ReportError: when it shows a picture that is not there.
  """
  text = markdown.markdown(path.read_text(), extensions=["tables", "fenced_code"])
  text = re.sub(r"\A<h1>.*?</h1>", "", text.strip(), flags=re.DOTALL)  # the section has a heading
  # Headings of one word can be linked to, as on GitHub.
  text = re.sub(r"<h2>(\w+)</h2>", lambda h: f'<h2 id="{h[1].lower()}">{h[1]}</h2>', text)
  text = text.replace("<table>", '<div class="scroll"><table>')
  text = text.replace("</table>", "</table></div>")

  def found(match: re.Match[str]) -> str:
    attribute, target = match[1], html.unescape(match[2])
    file, _, place = target.partition("#")
    here = path.parent / file
    if attribute == "src":
      if not here.is_file():
        raise ReportError(f"{path} shows a picture that is not there: {target}")
      return f'src="{_embedded(here)}"'
    if not file or re.match(r"[a-z]+:", target):
      return match[0]
    return f'href="{html.escape(_relative(here, start))}{"#" * bool(place)}{html.escape(place)}"'

  return _demoted(re.sub(r'\b(src|href)="([^"]*)"', found, text))


def _of_markdown(path: Path) -> str:
  """The Markdown of a document as its HTML would be, without hints; only its first table is open.

  Raises ReportError if it does not begin with a title.
  """
  text = markdown.markdown(path.read_text(), extensions=["tables"])
  title = re.match(r"<h1>(.*?)</h1>", text)
  if title is None:
    raise ReportError(f"{path} does not begin with a title; restore it")
  about, *tables = text[title.end() :].split("<h2>")
  parts = [f"<h2>{title[1]}</h2>", about]
  for k, part in enumerate(tables):
    caption, _, table = part.partition("</h2>")
    if k == 0:
      table = table.replace("<table>", f"<table><caption>{caption}</caption>", 1)
    scrolling = f'<div class="scroll">{table}</div>'
    if k > 0:
      scrolling = f"<details><summary>{caption}</summary>{scrolling}</details>"
    parts.append(scrolling)
  return f'<section class="ranking-table"><style>{rendering.CSS}</style>{"".join(parts)}</section>'


def link(path: Path, start: Path, text: str) -> str:
  """A link from a page in the folder `start` to a file or folder."""
  address = html.escape(_relative(path, start))
  return f'<a href="{address}">{html.escape(text)}</a>'


def _picture(path: Path, start: Path) -> str:
  name = html.escape(PICTURES.get(path.stem, path.stem.replace("_", " ").capitalize()))
  wide = re.search(rb'<svg[^>]* width="([\d.]+)pt"', path.read_bytes()[:4000])
  kind = ' class="wide"' if wide and float(wide[1]) > WIDE else ""
  return (
    f'<figure{kind}><div><img src="{_embedded(path)}" alt="{name}"></div><figcaption>{name} '
    f"({link(path, start, 'SVG')})</figcaption></figure>"
  )


def _embedded(path: Path) -> str:
  kinds = {".svg": "svg+xml", ".jpg": "jpeg"}
  kind = kinds.get(path.suffix, path.suffix[1:])
  return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _relative(path: Path, start: Path) -> str:
  """Of a file or folder as a URL from the folder `start`."""
  return quote(os.path.relpath(path, start).replace(os.sep, "/")) + "/" * path.is_dir()


def _demoted(text: str) -> str:
  """With headings one level lower: the page has its own above them."""
  return re.sub(r"<(/?)h([1-5])\b", lambda found: f"<{found[1]}h{int(found[2]) + 1}", text)
