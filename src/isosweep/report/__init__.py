"""Records -> tables: collected, checked, averaged, ranked, rendered. Torch-free and Hydra-free.

The way of a table: collect.py -> choice.py (keys) -> checks.py (refusals) -> cells.py (statistics) ->
ranking.py, paired.py, published.py -> document.py -> markdown.py, latex.py, page.py, lines.py.
"""

from isosweep.report.collect import collect
from isosweep.report.keys import ReportError
from isosweep.report.pipeline import Made, NoRuns, Refused, Request, make, render

__all__ = ["Made", "NoRuns", "Refused", "ReportError", "Request", "collect", "make", "render"]
