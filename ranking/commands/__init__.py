"""Commands that are no training: prepare a log, report on it, check a machine, draw runs."""
