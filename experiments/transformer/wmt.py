"""English to German of WMT 2014, by tensorflow-datasets.

Words are what a split at spaces and signs gives, without capitals. The most frequent have a number
each; init2winit, which the paper used, has 32,000 pieces of words.
"""

import random
import re
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

from experiments.transformer.corpus import UNKNOWN, Corpus, Pair
from ranking.errors import InputError

NAME, HOST = "wmt14_translate/de-en", "http://www.statmt.org"
WORDS = 8000  # with a number, of each language
LONGEST = 24  # words of a sentence; longer ones are left out
TRAINED_ON, HELD_OUT = 500_000, 1024  # pairs
Text = tuple[str, str]


class CorpusError(InputError):
  """The pair of languages cannot be had."""


def corpus() -> Corpus:
  """The first sentences of the training data, and those of the validation data held out."""
  import tensorflow_datasets as tfds  # slow, and only needed here

  try:
    builder = tfds.builder(NAME)
    if not builder.data_path.exists():
      urllib.request.urlopen(HOST, timeout=20).close()  # TFDS would try again for many minutes
      builder.download_and_prepare()
  except Exception as error:  # of the network, of a mirror that is gone, of the disk
    raise CorpusError(
      f"TFDS cannot get {NAME} ({type(error).__name__}); run `tfds build {NAME}` "
      "on a machine with network and copy its ~/tensorflow_datasets here, or give --data=made_up"
    ) from error

  def texts(split: str) -> Iterator[Text]:
    for each in tfds.as_numpy(builder.as_dataset(split=split)):
      yield each["en"].decode(), each["de"].decode()

  return of_texts(islice(texts("train"), TRAINED_ON), texts("validation"))


def of_texts(trained_on: Iterable[Text], held_out: Iterable[Text]) -> Corpus:
  """Their words as numbers; a seed shuffles those trained on, again for each pass over them."""
  training = [pair for pair in map(_split, trained_on) if _fits(pair)]
  numbers = [
    {
      word: UNKNOWN + 1 + k
      for k, (word, _) in enumerate(
        Counter(word for pair in training for word in pair[side]).most_common(WORDS)
      )
    }
    for side in range(2)
  ]

  def numbered(pair: tuple[list[str], list[str]]) -> Pair:
    source, target = (
      [number.get(word, UNKNOWN) for word in words]
      for number, words in zip(numbers, pair, strict=True)
    )
    return source, target

  def shuffled(seed: int) -> Iterator[Pair]:
    chance = random.Random(seed)
    while True:
      yield from map(numbered, chance.sample(training, len(training)))

  return Corpus(
    words=(UNKNOWN + 1 + len(numbers[0]), UNKNOWN + 1 + len(numbers[1])),
    lengths=(LONGEST + 1, LONGEST + 1),
    training=shuffled,
    held_out=[numbered(pair) for pair in islice(filter(_fits, map(_split, held_out)), HELD_OUT)],
    unavoidable=None,
  )


def _split(text: Text) -> tuple[list[str], list[str]]:
  source, target = (re.findall(r"\w+|[^\w\s]", side.lower()) for side in text)
  return source, target


def _fits(pair: tuple[list[str], list[str]]) -> bool:
  return all(1 <= len(words) <= LONGEST for words in pair)
