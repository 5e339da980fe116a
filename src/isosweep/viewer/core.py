"""The viewer without a browser: who looks from where, what is drawn next, and what training may be asked for.

Two kinds of threads meet here. The one that owns the models trains, draws and extracts meshes: `between_steps`, `work`.
Those of a front end say what is wanted, and never touch a model: all other functions.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from isosweep.config.crop import Box
from isosweep.config.settings import ExportSettings
from isosweep.errors import InputError
from isosweep.meshes.extract import export_mesh
from isosweep.runtime.interrupts import Interrupts, RunPreempted, RunTimeout
from isosweep.types import Mesh
from isosweep.viewer.canvas import Canvas, Drawn
from isosweep.viewer.looks import Look
from isosweep.viewer.share import Share
from isosweep.viewer.subject import Subject, at_rest

log = logging.getLogger("isosweep")

IDLE_S = 0.1
"""Seconds after which a paused run looks for signals again."""

Show = Callable[[Drawn], None]
OnMesh = Callable[[Mesh | str], None]
"""Gets the mesh in normalised units of the first model, or why there is none."""


@dataclass
class Window:
    """Somebody who looks."""

    canvas: Canvas
    show: Show
    resting: bool = False
    """Whether it needs no pictures."""
    served: int = field(default=0)
    """When it had its last piece: it is next who has waited longest."""


class Viewer:
    """Draws for all windows, in the time that training leaves it.

    Args:
        subjects: the models, side by side.
        longest: pixels along the longer side of the picture of a resting camera.
        share: of the time while somebody looks (`Share`).
        mesh_cells: along the box, of meshes that are asked for.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        *,
        longest: int = 512,
        share: float = 0.2,
        mesh_cells: int = 96,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.subjects = tuple(subjects)
        self.step = subjects[0].knobs().step
        """Steps that the first model has been trained for."""
        self._longest, self._mesh_cells, self._clock = longest, mesh_cells, clock
        self._share = Share(share)
        self._windows: dict[int, Window] = {}
        self._served = 0
        self._wishes: dict[Hashable, Callable[[], None]] = {}
        self._lock, self._woken = threading.Lock(), threading.Event()
        self.paused = self.stopped = self.broken = False
        self.on_broken: Callable[[str], None] = lambda why: None
        """Called once, with the reason, when an error has switched the viewer off."""

    # -- for the threads of a front end

    def open(self, window: int, show: Show) -> None:
        """Begin to draw for a window. ``show`` is called with each complete picture, by the thread of the models."""
        canvas = Canvas(self.subjects, self._longest, self._clock)
        with self._lock:
            self._windows[window] = Window(canvas, show)

    def close(self, window: int) -> None:
        """Draw no more for a window."""
        with self._lock:
            self._windows.pop(window, None)
            self._wishes.pop(window, None)

    def look(self, window: int, look: Look) -> None:
        """Show this in a window."""
        with self._lock:
            if window in self._windows:
                self._windows[window].canvas.look(look)
        self._woken.set()

    def rest(self, window: int, on: bool) -> None:
        """Draw nothing for a window, or go on with it."""
        with self._lock:
            if window in self._windows:
                self._windows[window].resting = on
        self._woken.set()

    def pause(self, on: bool) -> None:
        """Let the training wait, or go on."""
        if on != self.paused:
            log.info("the viewer has %s", "paused the training" if on else "let the training go on")
        self.paused = on
        self._woken.set()

    def stop(self) -> None:
        """Let the training save and end, as Ctrl-C does; let a viewer of finished runs end."""
        self.stopped = True
        self._woken.set()

    def want(self, who: Hashable, wish: Callable[[], None]) -> None:
        """Have something done by the thread of the models, between two pieces. The last wish of each counts."""
        with self._lock:
            self._wishes[who] = wish
        self._woken.set()

    def want_mesh(self, window: int, box: Box | None, done: OnMesh) -> None:
        """Have the first model's surface in a box extracted; None is the whole box of the scene."""
        self.want(window, lambda: done(self._mesh_of(box)))

    # -- for the thread of the models

    @property
    def watched(self) -> bool:
        """Whether anybody looks."""
        return bool(self._windows)

    @property
    def has_work(self) -> bool:
        """Whether a picture or a mesh is to be made."""
        return bool(self._wishes) or bool(self._waiting())

    def changed(self, step: int) -> None:
        """Note that the models are at another step."""
        self.step = step
        for window in self._all():
            window.canvas.changed()

    def between_steps(self, step: int, seconds: float, signals: Interrupts) -> None:
        """Draw for as long as the last step of the training allows, and do what was asked for.

        No random number is drawn, and the model is left as it was. An error switches the viewer off; it never ends a
        training.

        Args:
            step: steps done.
            seconds: that the last one took.
            signals: the run's. A stop is asked for as by Ctrl-C.
        """
        self.changed(step)
        if self.watched:
            self._share.trained(seconds)
        else:
            self._share.nobody()
        self._guarded(lambda: self._share.may)
        self._guarded(lambda: self.paused and not self.stopped and not signals.wants_checkpoint, paused=True)
        if self.stopped and signals.signal is None:
            log.info("the viewer has asked to stop: stopping at the next safe point")
            signals.ask_to_end(signal.SIGINT)

    def work(self) -> bool:
        """Do one piece of what is wanted; returns False if nothing is."""
        return self._grant() or self._draw()

    def wait(self, seconds: float = IDLE_S) -> None:
        """Wait until something is wanted, at most this long."""
        self._woken.wait(seconds)
        self._woken.clear()

    def _guarded(self, may: Callable[[], bool], paused: bool = False) -> None:
        """Work while it may. What is drawn in a pause takes nothing from the training, so it is not counted."""
        try:
            while may():
                began = self._clock()
                done = not self.broken and self.work()
                if not paused:
                    self._share.looked(self._clock() - began)
                if not done and not paused:
                    return
                if not done:
                    self.wait()
        except Exception as error:
            self.broken, self.paused = True, False
            log.warning("the viewer is switched off, and the training goes on: %s", error, exc_info=True)
            self.on_broken(str(error))

    def _all(self) -> list[Window]:
        with self._lock:
            return list(self._windows.values())

    def _waiting(self) -> list[Window]:
        return [w for w in self._all() if w.canvas.has_work and not w.resting]

    def _draw(self) -> bool:
        waiting = self._waiting()
        if not waiting:
            return False
        window = min(waiting, key=lambda w: w.served)
        self._served += 1
        window.served = self._served
        drawn = window.canvas.advance()
        if drawn is not None:
            window.show(drawn)
        return True

    def _grant(self) -> bool:
        with self._lock:
            if not self._wishes:
                return False
            wish = self._wishes.pop(next(iter(self._wishes)))
        wish()
        return True

    def _mesh_of(self, box: Box | None) -> Mesh | str:
        subject = self.subjects[0]
        settings = ExportSettings(resolution=self._mesh_cells, crop=box)
        here = replace(subject.scene, to_world=np.eye(4))
        try:
            with at_rest([subject]):
                return export_mesh(subject.model, here, subject.knobs(), settings)
        except InputError as error:
            return str(error)
        except (torch.OutOfMemoryError, MemoryError):
            return "there is not enough memory for it now; a smaller view.mesh needs less"
        except (RunPreempted, RunTimeout):
            return "the run was asked to end"  # the training sees the signal itself, and saves first
