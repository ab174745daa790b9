"""The study of the paper: its grids, findings, figures, tables and pages."""
