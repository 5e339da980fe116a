"""``debug=dataset|model|eval``: draw or print one part of a run, without training."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from isosweep.app.build import build_loss, build_model, load_scene
from isosweep.app.checks import check_scene
from isosweep.app.device import activate
from isosweep.app.plan import RunPlan, plan_run
from isosweep.app.recording import score_lines
from isosweep.app.telling import Lines
from isosweep.config.names import label
from isosweep.config.settings import OptimSettings
from isosweep.data.checks import warning_lines
from isosweep.data.mask_choice import mask_line
from isosweep.evaluation import evaluate
from isosweep.models.base import Model
from isosweep.record import CHECKPOINTS
from isosweep.rendering.views import Views, truth_image
from isosweep.runtime import progress
from isosweep.training import checkpoint
from isosweep.training.optimizer import parameter_groups
from isosweep.types import Cameras, Scene

log = logging.getLogger("isosweep")

SAMPLE_IMAGES = 8
"""Images in the picture of a data set."""


def scene_lines(scene: Scene) -> list[str]:
    """A description of a scene: views, masks, box, ground truth and points, one line each."""
    hw = scene.cameras.hw.cpu().numpy()
    sizes = sorted({(int(w), int(h)) for h, w in hw})
    shown = ", ".join(f"{w}x{h}" for w, h in sizes[:4]) + (" ..." if len(sizes) > 4 else "")
    scale = float(np.cbrt(np.linalg.det(np.asarray(scene.to_world, dtype=np.float64)[:3, :3])))
    splits = ", ".join(f"{name} {len(views)}" for name, views in scene.splits.items())
    return [
        f"{scene.dataset}/{scene.name}: {len(scene.cameras)} views of {shown}; splits {splits}"
        + ("" if scene.held_out else " (test views are training views)")
        + ("" if scene.bare is None else f"; {len(scene.bare.names)} cameras without images"),
        mask_line(scene),
        f"box: half side {scene.radius:g}; one normalised unit is {scale:g} {scene.world_unit}; "
        f"rays from {scene.near_far[0]:g} to {scene.near_far[1]:g}; "
        f"pixel centre {scene.cameras.pixel_centre:g}",
        f"ground truth: {scene.truth or scene.reference_points or 'none'}",
        "points: " + _point_line(scene),
    ]


def _point_line(scene: Scene) -> str:
    if scene.points is None:
        return "none"
    inside = float((scene.points.abs().amax(-1) < scene.radius).float().mean())
    seen = "" if scene.sightings is None else f", {len(scene.sightings.point)} sightings"
    return f"{len(scene.points)}, {inside:.0%} of them in the box{seen}"


def frusta(cameras: Cameras, depth: float) -> np.ndarray:
    """The edges of every camera's pyramid as line segments, [V * 8, 2, 3] in normalised units.

    Args:
        depth: from a camera's centre to the base of its pyramid, along the optical axis, normalised units.
    """
    segments = []
    for c2w, k, (height, width) in zip(
        cameras.c2w.cpu().double().numpy(), cameras.K.cpu().double().numpy(), cameras.hw.tolist(), strict=True
    ):
        corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], dtype=np.float64)
        ends = (np.linalg.solve(k, corners.T).T * depth) @ c2w[:, :3].T + c2w[:, 3]
        for i in range(4):
            segments += [(c2w[:, 3], ends[i]), (ends[i], ends[(i + 1) % 4])]
    return np.array(segments)


def draw_dataset(scene: Scene, path: Path) -> None:
    """Draw the cameras around the foreground box (training views blue, others orange), and sample images."""
    from matplotlib.figure import Figure
    from mpl_toolkits.mplot3d.art3d import Line3DCollection, Poly3DCollection

    figure = Figure(figsize=(14, 7), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False)[0]
    axes = left.add_subplot(projection="3d")
    centres = scene.cameras.c2w[:, :, 3].cpu().numpy()
    reach = max(float(np.linalg.norm(centres, axis=1).max()), scene.radius)
    edges = frusta(scene.cameras, 0.12 * reach).reshape(len(scene.cameras), 8, 2, 3)
    train = set(scene.splits["train"])
    for views, color in (
        ([v for v in range(len(edges)) if v in train], "tab:blue"),
        ([v for v in range(len(edges)) if v not in train], "tab:orange"),
    ):
        if views:
            lines = edges[views].reshape(-1, 2, 3)
            axes.add_collection3d(Line3DCollection(lines, colors=color, linewidths=0.6))
    r = scene.radius
    square = np.array([[-r, -r], [r, -r], [r, r], [-r, r]])
    for axis in range(3):
        for side in (-r, r):
            face = np.insert(square, axis, side, axis=1)
            axes.add_collection3d(Poly3DCollection([face], alpha=0.06, facecolor="gray", edgecolor="gray"))
    low, high = np.minimum(edges.min((0, 1, 2)), -r), np.maximum(edges.max((0, 1, 2)), r)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]), xlabel="x", ylabel="y")
    axes.set_box_aspect(tuple(high - low))
    axes.set_title(scene_lines(scene)[0], fontsize=8)
    views = np.unique(np.linspace(0, len(scene.names) - 1, min(SAMPLE_IMAGES, len(scene.names))).astype(int))
    grid = right.subplots(-(-len(views) // 2), 2, squeeze=False).ravel()
    for place in grid:
        place.axis("off")
    for place, view in zip(grid, views, strict=False):
        rgb, mask = scene.images.image(int(view))
        if mask is not None:
            shade = scene.background.cpu() if scene.composite else rgb * 0.35
            rgb = rgb * mask[..., None] + shade * (1 - mask[..., None])
        if (kept := evaluate.kept_pixels(scene, int(view))) is not None:
            rgb = torch.where(kept[..., None], rgb, 0.35 * rgb)
        place.imshow(rgb.clamp(0, 1).numpy())
        place.set_title(scene.names[int(view)], fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def draw_view(
    images: Mapping[str, torch.Tensor],
    truth: torch.Tensor,
    scores: Mapping[str, float | None],
    title: str,
    path: Path,
) -> None:
    """Draw one view: photograph, rendering, their difference, depth, opacity and normal.

    Args:
        images: ``rendering.views.render_view``'s maps of the view.
        truth: the photograph [H, W, 3].
        scores: of the view, for the picture's title.
    """
    rgb = images["rgb"].clamp(0, 1)
    seen = images["opacity"].squeeze(-1) > 0.5
    panels: dict[str, np.ndarray] = {
        "photograph": truth.numpy(),
        "rendering": rgb.numpy(),
        "|difference| x 4": (4 * (rgb - truth).abs()).clamp(0, 1).numpy(),
        "depth": torch.where(seen, images["depth"].squeeze(-1), torch.nan).numpy(),
        "opacity": images["opacity"].squeeze(-1).numpy(),
    }
    if "normal" in images:
        panels["normal"] = torch.where(seen[..., None], 0.5 + 0.5 * images["normal"], 1.0).clamp(0, 1).numpy()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 8), layout="constrained")
    for place, (name, picture) in zip(figure.subplots(2, 3).ravel(), panels.items(), strict=False):
        place.imshow(picture)
        place.set_title(name, fontsize=9)
        place.axis("off")
    shown = ", ".join(f"{name} {value:.2f}" for name, value in scores.items() if value is not None)
    figure.suptitle(f"{title}: {shown}", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def debug(cfg: DictConfig) -> None:
    """Do ``debug.part``: draw the data set, count the model's parameters, or score and draw one view.

    Raises:
        ConfigError: the config cannot be run as composed, or there is no such part.
    """
    plan = plan_run(cfg)
    activate(plan.machine)
    with progress.heard_by(Lines()):
        match cfg.debug.part:
            case "dataset":
                debug_dataset(plan)
            case "model":
                debug_model(plan)
            case "eval":
                debug_eval(plan)


def debug_dataset(plan: RunPlan) -> None:
    """Log what the scene holds, and draw its cameras and sample images."""
    scene = load_scene(plan.cfg, torch.device("cpu"))
    for line in scene_lines(scene):
        log.info("%s", line)
    for line in warning_lines(scene):
        log.warning("%s", line)
    path = picture_folder(plan) / f"{plan.identity.names['dataset']}-{plan.cfg.scene}.png"
    draw_dataset(scene, path)
    log.info("picture  %s", path)


def debug_model(plan: RunPlan) -> None:
    """Log the model, its parameters, and the terms of the loss."""
    model = build_model(plan.cfg, plan.machine.device)
    loss = build_loss(plan.cfg, model, plan.model_name)
    log.info("%s\n%s", model, parameter_table(model, plan.settings.optim))
    terms = ", ".join(f"{name} {weight}" for name, (weight, _) in loss.terms.items())
    log.info("loss: %s; it reads %s", terms, ", ".join(sorted(loss.wants)))


def debug_eval(plan: RunPlan) -> None:
    """Score one view of the run's last checkpoint, or of the untrained model, and draw it."""
    cfg, identity, device = plan.cfg, plan.identity, plan.machine.device
    model = build_model(cfg, device)
    loss = build_loss(cfg, model, plan.model_name)
    scene = load_scene(cfg, device, model)
    check_scene(cfg, scene, loss, model, plan.model_name)
    trained = identity.folder / CHECKPOINTS["last"]
    step = 0
    if trained.is_file():
        saved = checkpoint.load(trained, device, identity.key)
        checkpoint.load_weights(model, checkpoint.trained(saved), trained)
        step = saved["step"]
    log.info("weights: %s", trained if step else "untrained (this config has no run yet)")
    model.eval()
    knobs = model.knobs(step, cfg.train.max_steps)
    renders: dict[int, Views] = {}
    scores = evaluate.evaluate(
        model,
        scene,
        knobs,
        replace(plan.settings.eval, n_views=1, geometry=False),
        on_view=lambda view, out: renders.update({view: out}),
    )
    view, render = next(iter(renders.items()))
    name = scene.names[view].replace("/", "_")
    path = (
        picture_folder(plan) / f"{identity.names['dataset']}-{cfg.scene}-{label(identity.names)}-{name}.png"
    )
    title = f"{scene.dataset}/{scene.name} {scene.names[view]}, step {step}"
    draw_view(render, truth_image(scene, view)[0], scores.values, title, path)
    log.info("view %s\n%s\npicture  %s", scene.names[view], score_lines(scores.values, scores.reasons), path)


def picture_folder(plan: RunPlan) -> Path:
    """The folder for debug pictures: ``debug/`` beside the folder of all runs."""
    return Path(plan.cfg.run.root).parent / "debug"


def parameter_table(model: Model, settings: OptimSettings) -> str:
    """A table of every parameter with its group, shape and size, and of each group's sum."""
    groups = parameter_groups(model, settings)
    owner = {id(p): str(group["name"]) for group in groups for p in group["params"]}  # pyright: ignore[reportGeneralTypeIssues]
    rows = [
        (owner[id(p)], n, "x".join(map(str, p.shape)) or "1", p.numel()) for n, p in model.named_parameters()
    ]
    wide = [max(len(str(r[i])) for r in rows) for i in range(3)]
    lines = [f"{g:<{wide[0]}}  {n:<{wide[1]}}  {s:>{wide[2]}}  {c:>12,}" for g, n, s, c in rows]
    sums: dict[str, int] = {}
    for group, _, _, count in rows:
        sums[group] = sums.get(group, 0) + count
    lines += [
        f"{group:<{wide[0]}}  total{'':>{wide[1] + wide[2] - 3}}  {count:>12,}"
        for group, count in sums.items()
    ]
    return "\n".join([*lines, f"all parameters: {sum(sums.values()):,}"])
