"""The fifteen findings of the paper, in its order; F9 as two questions."""

from experiments.findings.divergence import F1, F2, F4, F14
from experiments.findings.dynamics import F9, F9B, F10, F12
from experiments.findings.quality import F3, F5, F6, F7, F8
from experiments.findings.remedies import F11, F13, F15

RULES = (F1, F2, F3, F4, F5, F6, F7, F8, F9, F9B, F10, F11, F12, F13, F14, F15)
