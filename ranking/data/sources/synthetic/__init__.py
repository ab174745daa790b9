"""A short-video log of any size whose truth is known: marginals of KuaiRand, taste that drifts.

The shape of single columns follows the public statistics of KuaiRand (for tags per video, KuaiRec).
How columns depend on each other is this package's own invention.

Dials make the log harder in one way each; docs/synthetic.md shows what they do. Each draws from a
random stream of its own: turning one leaves everything as it is that it does not change.

Days are drawn one by one and written in blocks: memory grows with users, videos and the rows of a
day (by less than these take), never with the number of days.
"""

from ranking.data.sources.synthetic.source import Synthetic

__all__ = ["Synthetic"]
