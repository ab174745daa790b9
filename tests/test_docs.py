"""Links of every page lead somewhere, and the paths and make targets that pages name are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [
  ROOT / "README.md",
  ROOT / "CONTRIBUTING.md",
  ROOT / "data" / "README.md",
  *sorted((ROOT / "docs").glob("*.md")),
  *sorted((ROOT / "experiments").glob("*.md")),
  *sorted((ROOT / "experiments" / "results").rglob("*.md")),
]
WRITTEN = [page for page in PAGES if "results" not in page.parts]  # by a person, or nearly


def anchors(page: Path) -> set[str]:
  """What a link may name behind a #, as GitHub makes it of the headings of a page."""
  headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
  return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def name(page: Path) -> str:
  return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
  for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    if ":" not in link:
      assert target.exists(), link
      assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_every_path_that_a_page_names_exists(page: Path) -> None:
  places = "ranking|configs|experiments|docs|tests|scripts"
  for path in re.findall(rf"`((?:{places})/[\w./]*)`", page.read_text()):
    assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
  makefile = (ROOT / "Makefile").read_text()
  for target in re.findall(r"`make ([\w-]+)", page.read_text()):
    assert re.search(rf"^{target}\b.*:", makefile, re.MULTILINE), target


def test_the_walks_through_the_code_name_functions_and_fields_that_are_there() -> None:
  page = (ROOT / "CONTRIBUTING.md").read_text()
  walks = page.partition("## Three walks")[2].partition("## How to add")[0]
  code = "\n".join(path.read_text() for path in sorted((ROOT / "ranking").rglob("*.py")))
  for file in re.findall(r"`(\w+\.py)`", walks):
    assert [*(ROOT / "ranking").rglob(file)], file
  named = re.findall(r"`([A-Za-z_.]*[A-Z_.]\w*)`", walks)
  named = [each for each in named if not each.endswith((".json", ".jsonl", ".py"))]
  assert len(named) >= 15
  for each in named:
    *owner, last = each.split(".")
    assert re.search(rf"^ *(def|class) {last}\b|^  {last}:", code, re.MULTILINE), each
    if owner and owner[0][0].isupper():
      assert re.search(rf"^class {owner[0]}\b", code, re.MULTILINE), each
