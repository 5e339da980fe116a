"""Records become tables: they are collected, checked, averaged, ranked and rendered, without torch and Hydra.

May import: errors, record, runtime.

The way of a table: collect.py -> choice.py (keys) -> checks.py (refusals) -> cells.py (statistics) ->
ranking.py, paired.py, published.py -> document.py -> markdown.py, latex.py, page.py, lines.py.
"""

from isosweep.report.collect import collect
from isosweep.report.fields import ReportError
from isosweep.report.making import Made, NoRuns, Refused, Request, make, render

__all__ = ["Made", "NoRuns", "Refused", "ReportError", "Request", "collect", "make", "render"]
