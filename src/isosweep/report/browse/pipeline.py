"""Makes a page from a request. If no table can be made of the runs, the page says why."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from isosweep.report.browse.guard import guarded
from isosweep.report.browse.page import PageLimits, WrittenPage, write_page
from isosweep.report.browse.strips import ledger_strips
from isosweep.report.collect import collect, select_runs
from isosweep.report.key_names import full_conditions
from isosweep.report.keys import ReportError
from isosweep.report.pipeline import MadeTable, NoRuns, TableRequest, make_table, source_name


def make_page(
    request: TableRequest,
    target: Path,
    limits: PageLimits,
    progress: Callable[[int, int], None] | None = None,
) -> WrittenPage:
    """Write the page of the request's runs into ``target``.

    Args:
        limits: how much of each run is put on the page.
        progress: called with the number of runs done and the number of all runs.

    Raises:
        NoRuns: there is no run to show, nor a planned run or an unreadable record.
        ReportError: ``target`` holds something else than a page, or cannot be written.
    """
    found = collect(request.sources, request.root)
    runs = select_runs(found.runs, full_conditions(request.conditions, found.runs))
    if not runs and not found.absent and not found.broken:
        make_table(request)  # raises NoRuns
    notes: list[str] = []
    made = guarded("it could not be made", partial(_table, request), "", notes) or notes[0]
    table = made if isinstance(made, str) else made.document
    strips = [] if isinstance(made, str) else guarded("no ledger", partial(ledger_strips, made), [], notes)
    title = request.title or ", ".join(source_name(s) for s in request.sources)
    return write_page(
        target, title, runs, found, table, limits, request.digits, progress, request.published, strips
    )


def _table(request: TableRequest) -> MadeTable | str:
    """The table of the request's runs, or the reason why there is none."""
    try:
        return make_table(request)
    except NoRuns:
        return "none of these runs has a record"
    except ReportError as error:
        return str(error)
