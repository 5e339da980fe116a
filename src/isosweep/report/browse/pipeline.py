"""A request -> a page: also of runs that no table may be made of, which then says why."""

from collections.abc import Callable
from pathlib import Path

from isosweep.report.browse.page import PageLimits, WrittenPage, write_page
from isosweep.report.collect import collect, select_runs
from isosweep.report.default_keys import require_keys
from isosweep.report.keys import ReportError
from isosweep.report.pipeline import NoRuns, TableRequest, make_table, source_name


def make_page(
    request: TableRequest,
    target: Path,
    limits: PageLimits,
    progress: Callable[[int, int], None] | None = None,
) -> WrittenPage:
    """The page of the request's runs. Raises NoRuns where there is none and nothing was planned or broken either."""
    found = collect(request.sources, request.root)
    require_keys([k for k, _ in request.conditions], found.runs, "--where")
    runs = select_runs(found.runs, request.conditions)
    try:
        table = make_table(request).document
    except NoRuns:
        if not found.absent and not found.broken:
            raise
        table = "no run of it has a record"
    except ReportError as error:
        table = str(error)
    title = request.title or ", ".join(source_name(s) for s in request.sources)
    return write_page(target, title, runs, found, table, limits, request.digits, progress)
