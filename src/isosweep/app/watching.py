"""What a person sees of a run while it trains: pictures of one view, and the geometry as a curve.

Both look only: they draw no random number and change no parameter. Each takes ``train.watch_share`` of the training's
time at most. What does not fit into that is left out, and said.
"""

import logging
import math
import time
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import torch

from isosweep.app.follower import Follower
from isosweep.config.settings import TrainSettings
from isosweep.config.values import Settings
from isosweep.errors import InputError
from isosweep.evaluation.geometry_curve import GeometryCurve, is_official
from isosweep.meshes import extract
from isosweep.meshes.files import to_bytes
from isosweep.models.base import Model
from isosweep.record import RunRecord
from isosweep.rendering.pictures import write_png
from isosweep.rendering.view_row import panel_step, rays_of, view_row
from isosweep.runtime import progress
from isosweep.runtime.interrupts import RunPreempted, RunTimeout
from isosweep.trackers import Tracker
from isosweep.training.budget import Budget
from isosweep.training.loop import TrainState, due
from isosweep.types import Knobs, Mesh, Scene

log = logging.getLogger("isosweep")

FOLDER = "pictures"
LEAST_S = 0.4
"""Seconds that the first picture may take, at least: what draws is imported, and kernels are compiled for it."""
LEAST_SIDE = 24
"""A picture with fewer pixels than this along its longer side shows nothing, and is left out."""

COLD_S = 1.0
"""Seconds that must be left before the first mesh: libraries are imported for it, and the true surface is read."""
COLD_MESH = 16
"""Cells along the box of the small mesh that takes that time, so that the first measured one does not."""
PROBE = 4096
"""Points at which the field's speed is measured before the first mesh."""
NEAR_SURFACE = 0.2
"""Part of a grid's nodes that an extraction evaluates, as assumed for the first mesh."""
SCORE_S = 1e-5
"""Seconds that the first scores of a mesh take for each sample, as assumed."""
OFFICIAL_S = 60.0
"""Seconds that the first scores under an official protocol take, as assumed."""
AIM = 0.6
"""Part of a picture's time that it is planned for: the speed of rays varies with the model and with the machine."""
GROWS = 1.25
"""A mesh may cost so many times what the last one did."""


@dataclass
class Seen:
    """How often something was looked at in this start of the run, and the steps at which it was not."""

    times: int = 0
    skipped: list[int] = field(default_factory=list)


class Watch:
    """Called after each step of a training; acts where a picture or a mesh is due.

    A picture lies in ``pictures/<view>-<step>.png``, with the view ``val_view`` or, without validation views,
    ``train_view``. Trackers have it as ``pictures/<view>`` at its step.
    """

    def __init__(
        self,
        model: Model,
        scene: Scene,
        settings: Settings,
        state: TrainState,
        record: RunRecord,
        tracker: Tracker,
    ) -> None:
        self._model, self._scene, self._settings = model, scene, settings
        self._state, self._record, self._tracker = state, record, tracker
        train, max_steps = settings.train, settings.train.max_steps
        self._every = pictures_every(train)
        self._mesh_why = no_meshes(settings, scene)
        self._pictures = Budget(train.watch_share, state.step, max_steps)
        self._meshes = Budget(train.watch_share, state.step, max_steps)
        self._rays_per_s: float | None = None
        self._mesh_s: float | None = None
        self._warm = False
        self._curve = GeometryCurve(scene, replace(settings.eval, samples=train.val_samples))
        self._official_s = OFFICIAL_S if is_official(settings.eval) else 0.0
        self._seen = {"pictures": Seen(), "meshes": Seen()}

    def __call__(self) -> None:
        """Look, if something is due at the state's step."""
        train, step = self._settings.train, self._state.step
        done = step == train.max_steps
        mesh = self._mesh_why is None and due(step, train.val_every, done)
        picture = self._every is not None and due(step, self._every, done)
        if not (mesh or picture):
            return
        knobs, average = self._model.knobs(step, train.max_steps), self._state.average
        self._model.eval()
        try:
            # the tables go on to show the training; what is looked at is what is validated and scored
            with progress.unheard(), nullcontext() if average is None else average.in_place():
                if mesh:
                    self._look_at_mesh(knobs)
                if picture:
                    self._look_at_picture(knobs)
        except (RunPreempted, RunTimeout):
            log.info("step %d  looks no further: the run is asked to end", step)  # the loop saves and ends
        self._model.train()

    def close(self) -> None:
        """Say what looking has cost, by the record's clock, and where it was left out."""
        times = self._record.record.times
        for what, seconds in (("pictures", times.pictures_s), ("meshes", times.val_mesh_s)):
            seen = self._seen[what]
            if seen.times or seen.skipped:
                share = 100 * seconds / max(times.train_s, 1e-9)
                at = f"; left out at steps {_listed(seen.skipped)}" if seen.skipped else ""
                log.info(
                    "%s while it trained: %d, %.1f s, %.1f %% of the training%s",
                    what,
                    seen.times,
                    seconds,
                    share,
                    at,
                )

    def _look_at_picture(self, knobs: Knobs) -> None:
        every, step = self._every, self._state.step
        assert every is not None
        left = math.ceil((self._settings.train.max_steps - step) / every) + 1
        allowed = self._pictures.left(step) / left
        split = "val" if self._scene.splits.get("val") else "train"
        view = self._scene.splits[split][0]
        hw: tuple[int, int] = tuple(self._scene.cameras.hw[view].tolist())
        if self._rays_per_s is None and allowed < LEAST_S:
            self._leave_out("pictures", LEAST_S, allowed)
            return
        with self._record.timed("pictures_s"), self._pictures.spending():
            least = least_detail(hw)
            if self._rays_per_s is None:
                self._draw(view, knobs, least)  # imports and compiles
                began = time.perf_counter()
                self._draw(view, knobs, least)
                self._note_speed(hw, least, began)
            assert self._rays_per_s is not None
            coarser = detail(hw, AIM * allowed * self._rays_per_s)
            if coarser > least:
                smallest = rays_of(hw, least * panel_step(hw)) / self._rays_per_s / AIM
                self._leave_out("pictures", smallest, allowed)
                return
            began = time.perf_counter()
            image = self._draw(view, knobs, coarser)
            name = f"{split}_view"
            path = write_png(self._record.path(f"{FOLDER}/{name}-{step:07d}.png"), image)
            self._tracker.image(f"{FOLDER}/{name}", to_bytes(image), step)
            self._note_speed(hw, coarser, began)
        self._seen["pictures"].times += 1
        log.info("step %d  picture of view %s: %s", step, self._scene.names[view], path)

    def _draw(self, view: int, knobs: Knobs, coarser: int):
        colors = self._settings.export.depth_colors
        return view_row(self._model, self._scene, view, knobs, coarser, colors, self._settings.eval.chunk)

    def _note_speed(self, hw: tuple[int, int], coarser: int, began: float) -> None:
        rays = rays_of(hw, coarser * panel_step(hw))
        self._rays_per_s = rays / max(time.perf_counter() - began, 1e-6)

    def _look_at_mesh(self, knobs: Knobs) -> None:
        step, train = self._state.step, self._settings.train
        assert train.val_mesh is not None
        left, cold = self._meshes.left(step), 0.0 if self._warm else COLD_S
        if left <= cold:
            self._leave_out("meshes", cold + GROWS * (self._mesh_s or 0.0), left)
            return
        with self._record.timed("val_mesh_s"), self._meshes.spending():
            expected = self._first_mesh_s(knobs) if self._mesh_s is None else self._mesh_s
            # the last one is the most telling, so its time is kept for it
            needed = cold + GROWS * expected * (1 if step == train.max_steps else 2)
            if needed > left:
                self._leave_out("meshes", needed, left)
                return
            if not self._warm:
                self._mesh(knobs, COLD_MESH)
                self._curve.prepare()
                self._warm = True
            began = time.perf_counter()
            mesh = self._mesh(knobs, train.val_mesh)
            scores = {} if mesh is None else self._curve(mesh)
            self._mesh_s = time.perf_counter() - began
        self._seen["meshes"].times += 1
        values = {f"val/{name}": value for name, value in scores.items()}
        if values:
            self._record.log(step, values)
            self._tracker.log(step, values)
            shown = "  ".join(
                f"{name.removeprefix('val/geometry/')} {value:.4g}" for name, value in values.items()
            )
            log.info("step %d  mesh of %d^3 cells: %s", step, train.val_mesh, shown)

    def _mesh(self, knobs: Knobs, cells: int) -> Mesh | None:
        """A mesh of so many cells along the box, in world units; None where the field has no surface yet."""
        coarse = replace(self._settings.export, resolution=cells, colors=False)
        try:
            return extract.export_mesh(self._model, self._scene, knobs, coarse)
        except InputError as error:  # as at the end of a run (app/outputs.py)
            log.info("step %d  no mesh of %d^3 cells: %s", self._state.step, cells, error)
            return None

    def _first_mesh_s(self, knobs: Knobs) -> float:
        """Seconds that a mesh and its scores may take, from the speed of the field at points on the box's diagonal."""
        train = self._settings.train
        assert train.val_mesh is not None
        along = torch.linspace(-self._scene.radius, self._scene.radius, PROBE, device=knobs.device)
        points = along[:, None].expand(PROBE, 3).contiguous()
        with torch.no_grad():
            self._model.level(points, knobs).sum().item()  # compiles
            began = time.perf_counter()
            self._model.level(points, knobs).sum().item()
        field_s = (time.perf_counter() - began) / PROBE * NEAR_SURFACE * (train.val_mesh + 1) ** 3
        scores_s = SCORE_S * train.val_samples if self._curve.measures else 0.0
        return field_s + (self._official_s or scores_s)

    def _leave_out(self, what: str, needed: float, left: float) -> None:
        seen = self._seen[what]
        if not seen.skipped:
            log.info(
                "step %d  no %s yet: it would take %.1f s, and train.watch_share=%g leaves it %.1f s of this training",
                self._state.step,
                {"pictures": "picture", "meshes": "mesh"}[what],
                needed,
                self._settings.train.watch_share,
                max(left, 0.0),
            )
        seen.skipped.append(self._state.step)


def watch(
    model: Model,
    scene: Scene,
    settings: Settings,
    state: TrainState,
    record: RunRecord | Follower,
    tracker: Tracker,
) -> Watch | None:
    """Who looks at a training; None in a process that does not lead its team."""
    if isinstance(record, Follower):
        return None
    return Watch(model, scene, settings, state, record, tracker)


def pictures_every(settings: TrainSettings) -> int | None:
    """Steps between two pictures, from ``train.pictures_every``; None for none."""
    every = settings.pictures_every
    if every is None:
        return None
    return max(1, round(every * settings.max_steps if every < 1 else every))


def no_meshes(settings: Settings, scene: Scene) -> str | None:
    """Why no mesh is made while a run trains; None if they are."""
    if settings.train.val_mesh is None or settings.train.val_every <= 0 or not settings.eval.geometry:
        return "switched off"
    if scene.cameras.ndc is not None:
        return "NDC is projective"
    if settings.export.method != "field":
        return f"export.method={settings.export.method} renders all training views"
    return None


def least_detail(hw: tuple[int, int]) -> int:
    """The coarsest picture of a view of size (H, W) that still shows something: as ``coarser`` of `view_row`."""
    return max(1, max(hw) // panel_step(hw) // LEAST_SIDE)


def detail(hw: tuple[int, int], rays: float) -> int:
    """``coarser`` of `view_row` for the largest picture of a view of size (H, W) with at most so many rays."""
    step = panel_step(hw)
    coarser = max(1, math.ceil(math.sqrt(rays_of(hw, step) / max(rays, 1e-3))))
    while rays_of(hw, step * coarser) > max(rays, 1):
        coarser += 1
    return coarser


def _listed(steps: list[int]) -> str:
    shown = ", ".join(map(str, steps[:6]))
    return shown if len(steps) <= 6 else f"{shown}, ... ({len(steps)} in all)"
