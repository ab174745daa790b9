"""A made-up pair of languages, as English and German differ, so that no file is needed.

A sentence says who does what to whom, perhaps where and when; words are as frequent as Zipf's law
has it. Its translation

- has an auxiliary after the subject, which depends on the verb, and the verb itself at the end;
- has the adverb between them, which the source has at its end;
- chooses the article by the gender of a noun that comes later, and by its case;
- has an ending behind each adjective, by the same gender and case;
- has two words for each noun, of which nothing tells which will come: the rarer one, one time in
  five, is the only error that cannot be avoided.
"""

import random
import zlib
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice

from experiments.transformer.corpus import UNKNOWN, Corpus, Pair

NOUNS, VERBS, ADJECTIVES, ADVERBS, PREPOSITIONS = 120, 60, 40, 15, 6  # how many of each
GENDERS, CASES, AUXILIARIES = 3, 2, 2
RARER = 0.2  # how often the rarer of two words is taken
HELD_OUT, ONE_IN = 1024, 8  # pairs to measure errors on, of sentences that are one in so many
SEED_OF_LANGUAGE, SEED_OF_HELD_OUT = 7, 11


class _Numbers:
  """Hands out numbers of words, those behind UNKNOWN first."""

  def __init__(self) -> None:
    self.next = UNKNOWN + 1

  def take(self, count: int) -> list[int]:
    """The next so many."""
    self.next += count
    return list(range(self.next - count, self.next))


class Languages:
  """Both vocabularies, the dictionary between them, and the grammar."""

  def __init__(self) -> None:
    source, target, chance = _Numbers(), _Numbers(), random.Random(SEED_OF_LANGUAGE)

    def shuffled(count: int) -> list[int]:
      return chance.sample(taken := target.take(count), len(taken))

    (self.the,) = source.take(1)
    self.nouns = source.take(NOUNS)
    self.verbs = source.take(VERBS)
    self.adjectives = source.take(ADJECTIVES)
    self.adverbs = source.take(ADVERBS)
    self.prepositions = source.take(PREPOSITIONS)
    self.articles, self.endings = target.take(GENDERS * CASES), target.take(GENDERS * CASES)
    self.auxiliaries = target.take(AUXILIARIES)
    self.usual = dict(zip(self.nouns, shuffled(NOUNS), strict=True))
    self.rarer = dict(zip(self.nouns, shuffled(NOUNS), strict=True))
    others = self.verbs + self.adjectives + self.adverbs + self.prepositions
    self.translated = dict(zip(others, shuffled(len(others)), strict=True))
    self.gender = {noun: chance.randrange(GENDERS) for noun in self.nouns}
    self.auxiliary = {verb: chance.choice(self.auxiliaries) for verb in self.verbs}
    self.words = (source.next, target.next)

  def pair(self, chance: random.Random) -> Pair:
    """A sentence and its translation."""
    subject, by_subject = self._noun_phrase(chance, case=0)
    verb = _by_zipf(chance, self.verbs)
    source, middle = [*subject, verb], []
    things, by_things = self._noun_phrase(chance, case=1)
    source += things
    middle += by_things
    if chance.random() < 0.4:
      where = _by_zipf(chance, self.prepositions)
      place, by_place = self._noun_phrase(chance, case=1)
      source += [where, *place]
      middle += [self.translated[where], *by_place]
    if chance.random() < 0.4:
      when = _by_zipf(chance, self.adverbs)
      source.append(when)
      middle.insert(0, self.translated[when])
    return source, [*by_subject, self.auxiliary[verb], *middle, self.translated[verb]]

  def _noun_phrase(self, chance: random.Random, case: int) -> tuple[list[int], list[int]]:
    noun = _by_zipf(chance, self.nouns)
    form = self.gender[noun] * CASES + case
    source, target = [self.the], [self.articles[form]]
    if chance.random() < 0.5:
      adjective = _by_zipf(chance, self.adjectives)
      source.append(adjective)
      target += [self.translated[adjective], self.endings[form]]
    either = self.rarer if chance.random() < RARER else self.usual
    return [*source, noun], [*target, either[noun]]


def corpus() -> Corpus:
  """The pair of languages; the same every time."""
  languages = Languages()

  def pairs(seed: int, held_out: bool) -> Iterator[Pair]:
    chance = random.Random(seed)
    while True:
      pair = languages.pair(chance)
      if _is_held_out(pair[0]) == held_out:
        yield pair

  held_out = list(islice(pairs(SEED_OF_HELD_OUT, held_out=True), HELD_OUT))
  rarer = set(languages.rarer.values())
  words = [word for _, target in held_out for word in target]
  return Corpus(
    words=languages.words,
    lengths=(13, 17),
    training=lambda seed: pairs(seed, held_out=False),
    held_out=held_out,
    unavoidable=sum(word in rarer for word in words) / (len(words) + len(held_out)),
  )


def _by_zipf(chance: random.Random, words: Sequence[int]) -> int:
  """One of them, the k-th as often as 1 / k."""
  return chance.choices(words, cum_weights=_ZIPF[len(words)])[0]


_ZIPF = {
  count: list(accumulate(1 / k for k in range(1, count + 1)))
  for count in (NOUNS, VERBS, ADJECTIVES, ADVERBS, PREPOSITIONS)
}


def _is_held_out(source: Sequence[int]) -> bool:
  """By the sentence itself, so that one that is held out is never trained on."""
  return zlib.crc32(bytes(source)) % ONE_IN == 0
