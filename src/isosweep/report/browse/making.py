"""A request -> a page: also of runs that no table may be made of, which then says why."""

from collections.abc import Callable
from pathlib import Path

from isosweep.report.browse.folder import Limits, Written, write_page
from isosweep.report.collect import collect, where
from isosweep.report.fields import ReportError, text
from isosweep.report.making import NoRuns, Request, make


def make_page(
    request: Request, target: Path, limits: Limits, progress: Callable[[int, int], None] | None = None
) -> Written:
    """The page of the request's runs. Raises NoRuns where there is none and nothing was planned or broken either."""
    found = collect(request.sources, request.root)
    runs = where(found.runs, request.conditions, text)
    if not runs and not found.absent and not found.broken:
        raise NoRuns(f"no runs in {', '.join(request.sources)}: there is nothing to make a page of")
    table = "no run is finished" if not any(r.scored for r in runs) else ""
    if not table:
        try:
            made = make(request)
        except ReportError as error:
            table = str(error)
        else:
            table = made.document
    title = request.title or ", ".join(Path(s).name or s for s in request.sources)
    return write_page(target, title, runs, found, table, limits, request.digits, progress)
