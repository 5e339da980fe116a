"""Records become tables: they are collected, checked, averaged, ranked and rendered, without torch and Hydra.

May import: errors, record, runtime.

pipeline.py makes a table in these steps: collect.py (records), default_keys.py (rows), checks.py (refusals),
cells.py (means and spreads), ranking.py, paired.py and published.py, document.py (printed text). markdown.py,
latex.py, html.py and long_form.py write it. Nothing here imports torch or Hydra.
"""

from isosweep.report.collect import collect
from isosweep.report.keys import ReportError
from isosweep.report.pipeline import MadeTable, NoRuns, Refused, TableRequest, make_table, render_files

__all__ = [
    "MadeTable",
    "NoRuns",
    "Refused",
    "ReportError",
    "TableRequest",
    "collect",
    "make_table",
    "render_files",
]
