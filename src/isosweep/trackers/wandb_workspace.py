"""Composes a W&B workspace or report that compares the runs of one sweep. Only saving it needs a network.

The runs of a sweep are a W&B group, and ``method`` in their config is model and encoding. The panels follow the
sweep's records: the scores that any run has, and the views that were logged as pictures.
"""

import difflib
import importlib.util
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isosweep.errors import MissingLibraryError
from isosweep.record import find_runs, read_record
from isosweep.runtime.text import printable
from isosweep.trackers.login import logged_in, server_url
from isosweep.trackers.wrapper import error_line

log = logging.getLogger("isosweep")

SCORES = (
    "nvs/psnr",
    "nvs/ssim",
    "nvs/lpips_vgg",
    "nvs/lpips_alex",
    "geometry/chamfer",
    "geometry/reference_median",
    "geometry/fscore",
    "geometry/normal_consistency",
)
"""Scores that get a panel, in this order."""
CURVES = ("val/psnr", "train/psnr", "train/loss")
OVER_TIME = {
    "val/psnr": None,
    "val/geometry/chamfer": "geometry/chamfer",
    "val/geometry/reference_median": "geometry/reference_median",
}
"""Curves over the seconds of a run, each with the score that says whether the sweep has it; None: it always has.

W&B counts the seconds of a run over all of its starts."""
WATCHED = ("pictures/val_view", "pictures/train_view")
"""Pictures that a run logs while it trains; a slider in the panel chooses the step."""
MOST_PICTURES = 8
"""How many views the media panel shows at most."""


@dataclass(frozen=True)
class SweepContent:
    """What the runs of a sweep have logged: the number of runs, names of scores, names of pictures."""

    runs: int
    scores: tuple[str, ...]
    pictures: tuple[str, ...]


STANDARD = SweepContent(0, ("nvs/psnr", "nvs/ssim", "geometry/chamfer"), ())
"""Assumed for a sweep whose records are on another machine."""


def read_content(sweep: str, runs: Path) -> SweepContent:
    """Read what the records of ``sweep`` below the folder ``runs`` hold.

    A record that cannot be read is left out, with a warning.

    Raises LookupError, which names the sweeps there, if no record belongs to ``sweep``.
    """
    records = []
    for folder in find_runs(runs):
        try:
            records.append(read_record(folder))
        except (ValueError, OSError) as error:
            log.warning("left out: %s", printable(str(error)))
    own = [record for record in records if record.name == sweep]
    if not own:
        names = sorted({record.name for record in records if record.name})
        near = difflib.get_close_matches(sweep, names, n=2)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
        there = f"has runs of {', '.join(names[:12])}" if names else f"has {len(records)} runs, of no sweep"
        raise LookupError(
            f"no run of the sweep {sweep!r}{hint} {runs} {there}. Name their folder with --runs, or compose "
            "the standard panels for runs on another machine with --without-records"
        )
    scored = [record.scores for record in own if record.scores is not None]
    has = {name for scores in scored for name, value in scores.values.items() if value is not None}
    views = [
        view for scores in scored for names in list(scores.per_view.values())[:1] for view in list(names)
    ]
    pictures = [f"render/{view}" for view in dict.fromkeys(views)]
    return SweepContent(
        len(own), tuple(name for name in SCORES if name in has), tuple(pictures[:MOST_PICTURES])
    )


def workspace(sweep: str, content: SweepContent, *, project: str, entity: str) -> Any:
    """The workspace, as wandb_workspaces.workspaces.Workspace. Nothing is sent.

    Raises ModuleNotFoundError as ``require_package``.
    """
    require_package()
    import wandb_workspaces.workspaces as ws

    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"Sweep {sweep}",
        sections=[
            ws.Section(name=title, panels=panels, is_open=True) for title, panels in _sections(content)
        ],
        settings=ws.WorkspaceSettings(x_axis="step", max_runs=100, ignore_outliers=False),
        runset_settings=ws.RunsetSettings(
            filters=[ws.Metric("Group") == sweep],
            groupby=[ws.Config("scene"), ws.Config("method")],
            pinned_columns=["run:displayName", *(f"summary:{name}" for name in content.scores)],
        ),
    )


def report(sweep: str, content: SweepContent, *, project: str, entity: str, draft: bool = False) -> Any:
    """A report with the panels of the workspace, each section under a heading. Nothing is sent.

    A report's run sets name their project, for whose id wandb-workspaces asks the server when it sends or shows the
    report. With ``draft`` they name none, so that the report can be shown without a network.
    """
    require_package()
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces import expr
    from wandb_workspaces.reports.v2.interface import Report, Runset

    blocks: list[Any] = []
    for title, panels in _sections(content):
        runs = Runset(
            project="" if draft else project,
            entity="" if draft else entity,
            name=sweep,
            filters=[expr.Metric("Group") == sweep],
            groupby=["config.scene", "config.method"],
        )
        blocks += [wr.H2(title), wr.PanelGrid(runsets=[runs], panels=panels)]
    about = f"{content.runs} runs when this was composed." if content.runs else ""
    return Report(
        entity=entity,
        project=project,
        title=f"Sweep {sweep}",
        description=f"Runs of the group {sweep}, averaged over seeds. {about}".strip(),
        blocks=blocks,
        width="fluid",
    )


def as_json(view: Any) -> dict[str, Any]:
    """The workspace or report as it would be sent, as plain types."""
    return view._to_model().model_dump(by_alias=True, exclude_none=True, mode="json")


def save(view: Any) -> str:
    """Send a workspace or report to the server. Returns its URL.

    Raises PermissionError if nobody is logged in, ConnectionError if the server did not accept it.
    """
    if not logged_in():
        raise PermissionError(
            f"nobody is logged in at {server_url()}: run 'wandb login' first, or look at the spec with --dry-run"
        )
    try:
        view.save()
        return str(view.url)
    except Exception as error:  # wandb and its server raise errors of many types
        raise ConnectionError(f"{server_url()} did not accept it: {error_line(error)}") from error


def default_entity() -> str:
    """The default entity of the user who is logged in, from the server.

    Raises PermissionError if nobody is logged in or there is no default, ConnectionError if the server does not answer.
    """
    if not logged_in():
        raise PermissionError(
            f"nobody is logged in at {server_url()}: run 'wandb login' first, or name the owner with --entity"
        )
    import wandb

    try:
        entity = wandb.Api().default_entity
    except Exception as error:  # as in save
        raise ConnectionError(
            f"{server_url()} does not say who is logged in ({error_line(error)}): name the owner with --entity"
        ) from error
    if not entity:
        raise PermissionError(f"{server_url()} names no default entity: give the owner with --entity")
    return str(entity)


def require_package() -> None:
    """Raise ModuleNotFoundError, which says what to install, if wandb-workspaces is missing."""
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise MissingLibraryError(
            "the package wandb-workspaces is not installed: pip install 'isosweep[wandb-report]' "
            "(in a checkout: pip install -e '.[wandb-report]')"
        )


def _sections(content: SweepContent) -> list[tuple[str, list[Any]]]:
    """Title and panels of each section; workspaces and reports share them."""
    import wandb_workspaces.reports.v2 as wr

    method = wr.Config("method")

    def lines(names: Iterable[str], x: str, title: str) -> list[Any]:
        return [
            wr.LinePlot(
                title=title.format(name),
                x=x,
                y=[name],
                groupby=method,
                groupby_aggfunc="mean",
                groupby_rangefunc="minmax",
            )
            for name in names
        ]

    has = [name for name, score in OVER_TIME.items() if score is None or score in content.scores]
    curves = lines(CURVES, "step", "{}") + lines(has, "_runtime", "{} over time")
    bars = [
        wr.BarPlot(title=f"{name}: scene x method", metrics=[name], orientation="v")
        for name in content.scores
    ]
    targets = [name for name in ("nvs/psnr", "geometry/chamfer") if name in content.scores]
    importance = [wr.ParameterImportancePlot(with_respect_to=name) for name in targets]
    pictures = [wr.MediaBrowser(title="Test views", media_keys=list(content.pictures), num_columns=4)]
    watched = wr.MediaBrowser(title="While it trains", media_keys=list(WATCHED), num_columns=2)
    mesh = wr.MediaBrowser(title="Meshes", media_keys=["mesh"], num_columns=4)
    sections = [
        ("Curves by method", curves),
        ("Scores: scene x method", bars),
        ("What matters", [*importance, wr.RunComparer(diff_only="split")]),
        ("Pictures and meshes", [watched, *(pictures if content.pictures else []), mesh]),
    ]
    return [(title, panels) for title, panels in sections if panels]
