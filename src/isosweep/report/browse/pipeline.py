"""A request -> a page: also of runs that no table may be made of, which then says why."""

from collections.abc import Callable
from pathlib import Path

from isosweep.report.browse.page import Limits, Written, write_page
from isosweep.report.collect import collect, where
from isosweep.report.default_keys import require
from isosweep.report.keys import ReportError
from isosweep.report.pipeline import NoRuns, Request, make, name_of


def make_page(
    request: Request, target: Path, limits: Limits, progress: Callable[[int, int], None] | None = None
) -> Written:
    """The page of the request's runs. Raises NoRuns where there is none and nothing was planned or broken either."""
    found = collect(request.sources, request.root)
    require([k for k, _ in request.conditions], found.runs, "--where")
    runs = where(found.runs, request.conditions)
    try:
        table = make(request).document
    except NoRuns:
        if not found.absent and not found.broken:
            raise
        table = "no run of it has a record"
    except ReportError as error:
        table = str(error)
    title = request.title or ", ".join(name_of(s) for s in request.sources)
    return write_page(target, title, runs, found, table, limits, request.digits, progress)
