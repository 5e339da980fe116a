"""Scores of the meshes of a training, one after another: the scores of the end, as a curve."""

from isosweep.config.settings import EvalSettings
from isosweep.evaluation import dtu, evaluate, surface_metrics, tanks_and_temples
from isosweep.evaluation.scoreboard import Board
from isosweep.evaluation.surface_metrics import Observers, SurfaceSamples
from isosweep.meshes.files import read_mesh
from isosweep.types import Mesh, Scene

KEPT = (
    "chamfer", "accuracy", "completeness", "fscore", "reference_median", "reference_p90", "genus", "components",
)  # fmt: skip
"""Scores of a mesh that a curve has, each where the scene allows it."""


def is_official(settings: EvalSettings) -> bool:
    """Whether the protocol is one of those whose authors score meshes in a way of their own, against their data."""
    return dtu.preset_of(settings.protocol) is not None or settings.protocol == tanks_and_temples.PROTOCOL


class GeometryCurve:
    """Scores a mesh as `isosweep.evaluation.evaluate.evaluate` does. What no mesh changes is computed once.

    Args:
        settings: of the end's scores, but for ``samples``, of which a curve has fewer.
    """

    def __init__(self, scene: Scene, settings: EvalSettings) -> None:
        self._scene, self._settings = scene, settings
        self._truth: tuple[Mesh, Observers, SurfaceSamples] | None = None

    @property
    def measures(self) -> bool:
        """Whether there is a surface, or points of one, that distances are measured to."""
        scene = self._scene
        return is_official(self._settings) or scene.truth is not None or scene.reference_points is not None

    def prepare(self) -> None:
        """Read and sample the true surface, which else the first mesh would wait for."""
        if self._scene.truth is not None and not is_official(self._settings):
            self._true(self._scene)

    def __call__(self, mesh: Mesh) -> dict[str, float]:
        """The scores ``geometry/*`` of a mesh in world units; those that it does not have are left out.

        Raises:
            FileNotFoundError, InputError: the data of an official protocol is missing or does not fit.
            RunPreempted, RunTimeout: a signal asked the run to stop.
        """
        scene, settings = self._scene, self._settings
        values = surface_metrics.topology_scores(mesh)[0]
        if is_official(settings):
            board = Board()
            if settings.protocol == tanks_and_temples.PROTOCOL:
                evaluate.score_temples(board, scene, mesh)
            else:
                evaluate.score_dtu(board, scene, settings, mesh)
            values |= board.result()[0]
        elif scene.truth is not None:
            truth, observers, real = self._true(scene)
            values |= surface_metrics.surface_scores(
                mesh, truth, settings, observers, evaluate.DILATION, real
            )[0]
        if scene.reference_points is not None:
            points = read_mesh(scene.reference_points).vertices
            values |= surface_metrics.reference_scores(mesh, points, settings.samples, settings.seed)[0]
        found = {name: values.get(f"geometry/{name}") for name in KEPT}
        return {f"geometry/{name}": value for name, value in found.items() if value is not None}

    def _true(self, scene: Scene) -> tuple[Mesh, Observers, SurfaceSamples]:
        if self._truth is None:
            assert scene.truth is not None
            truth, observers = evaluate.read_truth(scene.truth), evaluate.observers_of(scene, self._settings)
            real = surface_metrics.true_samples(truth, self._settings, observers)
            self._truth = truth, observers, real
        return self._truth
