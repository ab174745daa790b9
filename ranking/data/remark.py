"""A warning about a log, kept in its store's card and said by whatever opens the store."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple


class Remark(NamedTuple):
  """A warning, and what it is about: leaving all of that out is an answer to it."""

  text: str
  features: Sequence[str] = ()
  tasks: Sequence[str] = ()


def unanswered(
  card: Mapping[str, Any],
  without_tasks: Collection[str] = (),
  without_features: Collection[str] = (),
) -> list[str]:
  """The warnings of a store's card that are not answered by leaving out what they are about."""
  asked = []
  for remark in (Remark(**each) for each in card.get("warnings", ())):
    gone = [
      bool(about) and set(about) <= set(without)
      for about, without in ((remark.tasks, without_tasks), (remark.features, without_features))
    ]
    if not any(gone):
      asked.append(remark.text)
  return asked
