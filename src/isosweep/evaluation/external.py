"""Score meshes and renders of other programs under a named protocol, and write the record that the tables read."""

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from isosweep import geometry
from isosweep.config.settings import EvalSettings
from isosweep.data.arrays import Sought, names_of, read_npy, read_npz
from isosweep.data.decode import read_mask
from isosweep.data.neus import read_cameras
from isosweep.errors import InputError
from isosweep.evaluation import dtu, dtu_culling, evaluate, external_images, protocol_matrix, surface_metrics
from isosweep.meshes import raycast
from isosweep.meshes.files import read_mesh
from isosweep.record import Lock, Memory, Record, Times, provenance, run_key, source_patch
from isosweep.record import folder as layout
from isosweep.record.clock import utc_now
from isosweep.record.code_version import code_hash
from isosweep.record.key import plain
from isosweep.record.reading import schema_problem
from isosweep.record.schema import RECORD_FILE, Attempt, encode_record
from isosweep.record.scores import score_record
from isosweep.runtime.files import atomic_write_bytes
from isosweep.runtime.text_file import read_matrix
from isosweep.types import Mesh, Scores

SQUARE = Sought(((4, 4),), words="a 4x4 matrix of numbers")
TINY = 0.02
"""A mesh whose diagonal is smaller than this fraction of its scan's is taken to be in other units."""


@dataclass(frozen=True)
class ExternalResult:
    """Which method's result is scored, on which scene, and where its record is written."""

    dataset: str
    scene: str
    method: str
    protocol: str
    """The protocol under which the scores are stored; runs that are scored alike have the same."""
    seed: int = 0
    root: Path = Path("results/external")
    out: Path | None = None
    """The record's folder; None takes <root>/<dataset>/<scene>/<method>-<protocol>-s<seed>."""
    force: bool = False
    """Replace a record that is there already; it is kept in previous-<n>/."""

    @property
    def folder(self) -> Path:
        """The record's folder."""
        if self.out is not None:
            return self.out
        parts = (self.dataset, self.scene, f"{self.method}-{self.protocol}-s{self.seed}")
        return self.root.joinpath(*(re.sub(r"[^A-Za-z0-9._+=-]+", "_", p).lstrip(".-") or "_" for p in parts))

    def check(self) -> None:
        """Check that no record is overwritten by mistake.

        Raises:
            FileExistsError: the folder holds a record, and ``force`` is False.
            InputError: a later version of isosweep has written it.
        """
        file = self.folder / RECORD_FILE
        if file.exists() and not self.force:
            raise FileExistsError(
                f"{file} exists and is not overwritten: score into another folder (--out {self.folder}-2), as another "
                "--method or --seed, or replace it with --force, which keeps the old one in previous-<n>/"
            )
        if file.exists() and (why := schema_problem(file)) is not None:
            raise InputError(f"{file}: {why}, or score into another folder (--out {self.folder}-2)")


def read_transform(path: Path) -> Float[np.ndarray, "4 4"]:
    """Read the 4x4 similarity from mesh units to world units: scale_mat_0 of an .npz, or the matrix in a .npy or text.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: the file cannot be read, or does not hold a similarity.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no transform at {path}: give a cameras .npz, or a 4x4 matrix as .npy or text"
        )
    try:
        what = "the transform"
        if path.suffix == ".npz":
            found = read_npz(path, what, lambda name: name == "scale_mat_0", SQUARE)
            if not found:
                has = ", ".join(names_of(path, what)[:6]) or "nothing"
                raise InputError(f"it has no scale_mat_0, it has {has}")
            matrix = found["scale_mat_0"].astype(np.float64)
        elif path.suffix == ".npy":
            matrix = read_npy(path, what, SQUARE).astype(np.float64)
        else:
            matrix = read_matrix(path, what)
        if matrix.shape != (4, 4):
            raise InputError(f"its shape is {matrix.shape}")
        geometry.similarity_scale(matrix)
    except ValueError as error:
        raise InputError(
            f"cannot take the transform of {path}: {error}. Expected a 4x4 similarity"
        ) from error
    return matrix


def score_dtu(
    mesh: Path,
    official: Path,
    scan: int,
    settings: dtu.DtuSettings,
    transform: Path | None = None,
    images_from: Path | None = None,
) -> Scores:
    """Score a mesh file under the DTU protocol; the protocol's name is dtu-<preset>.

    See ``dtu.dtu_scores`` for the scores (mm) and their formulas.

    Args:
        mesh: in mm, or in units that ``transform`` takes to mm.
        official: the folder of the official data.
        transform: a file for `read_transform`.
        images_from: a scene with cameras and masks, for presets that need masks.

    Raises:
        FileNotFoundError: an input is missing.
        InputError: an input is broken or does not fit, or the mesh has no score.
    """
    dtu_culling.preset(settings.cull)
    dtu.official_files(official, scan)
    pred = read_mesh(mesh, faces=True)
    observers = None
    if images_from is not None and settings.cull != "none":
        observers = dtu.read_masks(images_from, scan)[0]
    truth = dtu.read_official(official, scan)
    matrix = None if transform is None else read_transform(transform)
    _require_mm(mesh, pred, truth, matrix)
    values, reasons, notes = dtu.dtu_scores(pred, truth, settings, observers, matrix)
    _require(mesh, values, reasons)
    notes |= about_input(mesh, pred) | {"transform": _rows(matrix)}
    return Scores(dtu.PROTOCOL + settings.cull, values, {}, notes, reasons)


def score_dtu_all(
    mesh: Path,
    official: Path,
    scan: int,
    seed: int = 0,
    transform: Path | None = None,
    images_from: Path | None = None,
) -> list[Scores]:
    """Score a mesh file under every DTU protocol (`protocol_matrix.scores_by_protocol`); arguments as `score_dtu`.

    Without ``images_from`` there are no masks and cameras: those protocols are left that need none.

    Raises:
        FileNotFoundError: an input is missing.
        InputError: an input is broken or does not fit, or the mesh has no score without culling.
    """
    dtu.official_files(official, scan)
    pred = read_mesh(mesh, faces=True)
    observers = None if images_from is None else dtu.read_masks(images_from, scan)[0]
    truth = dtu.read_official(official, scan)
    matrix = None if transform is None else read_transform(transform)
    _require_mm(mesh, pred, truth, matrix)
    about = about_input(mesh, pred) | {"transform": _rows(matrix)}
    if matrix is not None:
        pred = replace(pred, vertices=geometry.to_world(pred.vertices, matrix))
    found = []
    for variant, values, reasons, notes in protocol_matrix.scores_by_protocol(pred, truth, observers, seed):
        if variant == protocol_matrix.Variant("none"):
            _require(mesh, values, reasons)
        found.append(Scores(variant.name, values, {}, notes | about, reasons))
    return found


def score_chamfer(
    mesh: Path,
    truth: Path,
    settings: EvalSettings,
    transform: Path | None = None,
    images_from: Path | None = None,
    unit: str = "unit",
) -> Scores:
    """Score a mesh file against a true surface or point cloud; see ``surface_metrics.surface_scores`` for the scores.

    Args:
        mesh: in the truth's units, or in units that ``transform`` takes to them.
        transform: a file for `read_transform`.
        images_from: a scene with cameras and perhaps masks. If given, only surface that a camera sees counts, and of
            the prediction only what lies in the visual hull of the masks.
        unit: name of the truth's unit, for the record.

    Raises:
        FileNotFoundError: an input is missing.
        InputError: an input is broken, or the mesh has no score.
    """
    pred, real = read_mesh(mesh, faces=True), read_mesh(truth)
    matrix = None if transform is None else read_transform(transform)
    if matrix is not None:
        pred = replace(pred, vertices=geometry.to_world(pred.vertices, matrix))
    observers = None
    if images_from is not None:
        cameras, to_world, masks = read_cameras(images_from)
        grounds = [read_mask(path) > 127 for path in masks] or [None] * len(cameras)
        observers = surface_metrics.Observers(
            raycast.world_cameras(cameras, to_world), range(len(cameras)), grounds
        )
    values, reasons = surface_metrics.surface_scores(pred, real, settings, observers, evaluate.DILATION)
    _require(mesh, values, reasons)
    notes: dict[str, object] = {
        "world_unit": unit,
        "samples": settings.samples,
        "sample_seed": settings.seed,
        "fscore_at": settings.fscore_at,
        "visibility": None if observers is None else f"ray casting from {len(observers.views)} views",
        "visual_hull": None
        if observers is None or observers.masks[0] is None
        else f"masks of the same views, grown by {evaluate.DILATION} px",
        "transform": _rows(matrix),
        "truth": truth.name,
    } | about_input(mesh, pred)
    return Scores("chamfer", values, {}, notes, reasons)


def score_images(
    renders: Path, truth: Path, masks: Path | None, settings: external_images.ImageSettings
) -> Scores:
    """Score a folder of renders against a folder of photographs; see ``external_images.image_scores``."""
    return external_images.image_scores(renders, truth, masks, settings)


def _require_mm(path: Path, mesh: Mesh, truth: dtu.Official, matrix: np.ndarray | None) -> None:
    """Refuse a mesh that is far smaller than the scan.

    A mesh in normalised units lies about the origin, which is in the box of many scans: it would get a wrong score.
    """
    size = float(np.linalg.norm(np.ptp(mesh.vertices, axis=0)))
    size *= 1.0 if matrix is None else geometry.similarity_scale(matrix)
    scan = float(np.linalg.norm(np.ptp(truth.points, axis=0)))
    if size < TINY * scan:
        raise InputError(
            f"{path} is {size:.3g} mm across, the scan {scan:.3g} mm: the mesh seems to be in normalised units; give "
            "its scale_mat (--transform cameras_sphere.npz)"
        )


def _require(mesh: Path, values: Mapping[str, float | None], reasons: Mapping[str, str]) -> None:
    if values["geometry/chamfer"] is None:
        raise InputError(f"{mesh} has no score: {reasons['geometry/chamfer']}")


def about_input(path: Path, mesh: Mesh) -> dict[str, object]:
    """What was scored, with the file's hash, which tells two records of one method apart."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return {
        "mesh": path.name,
        "mesh_sha256": digest,
        "vertices": len(mesh.vertices),
        "faces": len(mesh.faces),
    }


def _rows(matrix: np.ndarray | None) -> list[list[float]] | None:
    return None if matrix is None else matrix.tolist()


class Stopwatch:
    """When an evaluation began and how long it takes, for its record."""

    def __init__(self) -> None:
        self.started = utc_now()
        self._start = time.perf_counter()

    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start


def write_record(entry: ExternalResult, scores: Scores, watch: Stopwatch) -> Path:
    """Write record.json with the status 'finished' into the entry's folder; returns its path.

    Raises:
        FileExistsError: there is a record already, and ``entry.force`` is False.
        LockHeld: another process writes into the folder.
    """
    entry.check()
    folder = entry.folder
    folder.mkdir(parents=True, exist_ok=True)
    git, diff = source_patch.git_state()
    code = code_hash()
    lock = Lock(folder).acquire()
    try:
        entry.check()
        if (folder / RECORD_FILE).exists():
            layout.keep_record(folder)
        if diff:
            atomic_write_bytes(folder / source_patch.DIFF_FILE, diff)
        config = _config(entry)
        seconds, now = watch.seconds(), utc_now()
        attempt = Attempt(
            action="score",
            started=watch.started,
            host=lock.holder.host,
            pid=lock.holder.pid,
            code_hash=code,
            git_sha=git.sha,
            status="finished",
        )
        record = Record(
            run_key=run_key(config),
            dataset=entry.dataset,
            scene=entry.scene,
            label=entry.method,
            model=entry.method,
            seed=entry.seed,
            status="finished",
            trained=True,
            config=plain(config),
            scores=score_record(replace(scores, protocol=entry.protocol)),
            times=Times(started=watch.started, updated=now, finished=now, total_s=seconds, eval_s=seconds),
            memory=Memory(ram_peak_bytes=provenance.ram_peak_bytes()),
            device="cpu",
            backend="external",
            backend_reason="the result was made elsewhere; only the scores are ours",
            threads=torch.get_num_threads(),
            versions=provenance.versions(),
            git=git,
            code_hash=code,
            attempts=[attempt],
        )
        atomic_write_bytes(folder / RECORD_FILE, encode_record(record))
    finally:
        lock.release()
    return folder / RECORD_FILE


def _config(entry: ExternalResult) -> dict[str, object]:
    """What tables sort and filter by, under the keys of a run's config."""
    return {
        "dataset": {"name": entry.dataset, "scene": entry.scene},
        "scene": entry.scene,
        "model": {"name": entry.method},
        "seed": entry.seed,
        "backend": "external",
        "device": "cpu",
        "eval": {"protocol": entry.protocol},
    }
