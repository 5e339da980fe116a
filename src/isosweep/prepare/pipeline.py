"""The whole preparation: which step needs which, what each does, and what is said at the end.

Files: <out>/images, masks and the layouts are the scene; <out>/work holds copies, database and model.
"""

import logging
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from isosweep.cores import usable_cores
from isosweep.prepare import (
    contact_sheet,
    masks,
    messages,
    pairs,
    photos,
    reconstruction,
    region,
    sfm,
    undistort,
    video_frames,
    writers,
)
from isosweep.prepare.contact_sheet import SHEET
from isosweep.prepare.focal import Focal, Group, from_35mm, group_cameras
from isosweep.prepare.options import Options
from isosweep.prepare.progress import Progress
from isosweep.prepare.reconstruction import Solved
from isosweep.prepare.region import Region
from isosweep.prepare.stages import Book, Stage, claim, fingerprint, held
from isosweep.prepare.views import prepared_view, small_mask, small_masks

log = logging.getLogger("isosweep")
FEWEST = 3


class Preparation:
    """One folder's preparation; `run` brings everything up to date."""

    def __init__(self, options: Options, progress: Progress) -> None:
        options.check()
        self.options, self.progress = options, progress
        self.out, self.work = options.out, options.out / "work"
        self.database = self.work / "colmap" / "database.db"
        self.threads = options.threads or usable_cores()
        self.video = video_frames.is_video(options.source) and not options.source.is_dir()
        self.files, self.left = self._input()
        self.book = Book(self.out, self._stages())

    def _input(self) -> tuple[list[Path], dict[str, str]]:
        source = self.options.source
        if self.video:
            if not source.is_file():
                raise FileNotFoundError(f"no video {source}: give a video file, or a folder of photographs")
            return [source], {}
        if source.is_file():
            raise ValueError(
                f"{source} is neither a folder of photographs nor a video ({' '.join(sorted(video_frames.ENDINGS))})"
            )
        return photos.list_photos(source)

    def run(self) -> list[str]:
        """Do what is missing; lines for the terminal."""
        claim(self.out)
        with held(self.out):
            # a layout of an earlier call shares images with the new ones: it must not stay as it was
            earlier = [name for name in writers.WRITERS if name in self.book.entries]
            if not self.book.fresh("flatten"):
                self.book.check_owned()
            for layout in dict.fromkeys((*self.options.layouts, *earlier)):
                self.book.bring(layout)
            self.book.bring("sheet")
            # what was refused is not asked for again
            self.book.asked = self.options.asked()
            self.book.write()
            return messages.report(self.book, self.options.layouts)

    def _stages(self) -> list[Stage]:
        o = self.options
        read = {"input": fingerprint(self.files), "size": o.size}
        if self.video:
            read |= {"frames": o.frames, "start": o.start, "end": o.end}
        given = {"masks": o.masks, **self._mask_input()}
        early = ("images", "masks") if o.mask_features else ("images",)
        features = {
            "features": o.features, "camera": o.camera, "lens": o.lens, "focal": o.focal,
            "mask features": o.mask_features,
        }  # fmt: skip
        space = {"box": o.box, "sphere": o.sphere, "margin": o.margin}
        made = [
            Stage("images", read, (), self._images),
            Stage("masks", given, ("images",), self._masks),
            Stage("features", features, early, self._features),
            Stage("matches", {"matching": o.matching, "seed": o.seed}, ("features",), self._matches),
            Stage("poses", {"seed": o.seed}, ("matches",), self._poses),
            Stage("flatten", {}, ("poses", "masks"), self._flatten),
            Stage("region", space, ("flatten",), self._region),
        ]
        split = {"test_every": o.test_every}
        for layout in writers.WRITERS:
            own = split if layout in ("blender", "nerfstudio") else {}
            made.append(Stage(layout, own, ("region",), lambda layout=layout: self._layout(layout)))
        made.append(Stage("sheet", {}, ("region",), self._sheet))
        return made

    def _mask_input(self) -> dict[str, str]:
        """Contents of the masks' folder or of the model, so that a change of theirs is noticed."""
        model, folder = self.options.mask_model, self.options.mask_folder
        if model is not None and model.is_file():
            return {"input": fingerprint([model])}
        if folder is not None and folder.is_dir():
            return {"input": fingerprint(sorted(p for p in folder.iterdir() if p.is_file()))}
        return {}

    # --- steps: facts, files ---

    def _images(self) -> tuple[dict[str, Any], list[Path]]:
        folder, alphas = self.work / "images", self.work / "alpha"
        for old in (folder, alphas):
            shutil.rmtree(old, ignore_errors=True)
        o = self.options
        if self.video:
            with self.progress.task("frames", None) as task:
                made, seen = video_frames.extract(
                    self.files[0], folder, o.frames, o.size, o.start, o.end, task.total, task.tick
                )
            unknown = asdict(Focal(None, "a video states no focal length"))
            kept = [
                {
                    "name": n,
                    "source": n,
                    "width": w,
                    "height": h,
                    "focal": unknown,
                    "turned": False,
                    "alpha": False,
                }
                for n, w, h, _ in made
            ]
            log.info("frames    %d of %d frames of %s", len(kept), seen, self.files[0].name)
            return {"photos": kept, "left": {}}, [folder]
        with self.progress.task("images", len(self.files)) as task:
            found, left = photos.copy_photos(self.files, folder, alphas, o.size, self.threads, task.tick)
        left = self.left | left
        for name, why in left.items():
            log.warning("skipped   %s %s", name, why)
        if len(found) < FEWEST:
            reasons = "; ".join(f"{n} {w}" for n, w in list(left.items())[:3])
            raise ValueError(
                f"{len(found)} usable photographs in {o.source}, and {FEWEST} or more are needed"
                + (f" ({reasons})" if reasons else "")
            )
        turned = sum(p.turned for p in found)
        sizes = sorted({(p.width, p.height) for p in found})
        shown = ", ".join(f"{w}x{h}" for w, h in sizes[:4]) + (" ..." if len(sizes) > 4 else "")
        log.info(
            "images    %d photographs of %s%s",
            len(found),
            shown,
            f"; {turned} turned upright" if turned else "",
        )
        return {"photos": [asdict(p) for p in found], "left": left}, [folder]

    @property
    def _photos(self) -> list[dict[str, Any]]:
        return self.book.facts("images")["photos"]

    def _masks(self) -> tuple[dict[str, Any], list[Path]]:
        out = self.work / "masks"
        shutil.rmtree(out, ignore_errors=True)
        transparent = [p["source"] for p in self._photos if p["alpha"]]
        choice = masks.parse(self.options.masks, len(transparent), len(self._photos))
        if choice.kind == "none":
            if transparent and self.options.masks == "auto":
                log.warning(
                    "masks     %d of %d photographs are transparent in part (%s), ignored: --masks alpha uses it",
                    len(transparent), len(self._photos), messages.some(transparent),
                )  # fmt: skip
            return {"kind": "none", "without": []}, []
        pairs_ = [(p["name"], p["source"]) for p in self._photos]
        with self.progress.task("masks", len(pairs_)) as task:
            without = masks.make_masks(
                choice, pairs_, self.work / "images", self.work / "alpha", out, self.threads, task.tick
            )
        log.info("masks     %d by %s", len(pairs_) - len(without), choice.kind)
        if without:
            log.warning("no mask   %s: foreground everywhere", ", ".join(without[:8]))
        return {"kind": choice.kind, "without": without}, [out]

    def _groups(self) -> tuple[list[Group], list[str]]:
        ratios: list[float | None] = []
        for p in self._photos:
            given = self.options.focal
            ratios.append(p["focal"]["ratio"] if given is None else from_35mm(given, p["width"], p["height"]))
        sizes = [(p["width"], p["height"]) for p in self._photos]
        return group_cameras(sizes, ratios, self.options.camera)

    def _features(self) -> tuple[dict[str, Any], list[Path]]:
        database, digest = self.database, self.book.digest("features")
        mark = database.with_suffix(".made-for")
        if not mark.is_file() or mark.read_text() != digest:
            shutil.rmtree(database.parent, ignore_errors=True)
            database.parent.mkdir(parents=True)
            mark.write_text(digest)
        groups, said = self._groups()
        said = [*([] if self.options.focal else messages.doubtful(self._photos)), *said]
        for line in said:
            log.warning("%s", line)
        names = [p["name"] for p in self._photos]
        where = self._feature_masks() if self.options.mask_features else None
        with self.progress.task("features", len(names)) as task, sfm.speaking(self.database):
            counts = sfm.features(
                database, self.work / "images", names, groups, self.options.lens, self.options.features, where,
                self.threads, task.tick,
            )  # fmt: skip
        log.info("features  %d an image (%d to %d)", int(np.median(counts)), min(counts), max(counts))
        return {"counts": dict(zip(names, counts, strict=True)), "said": said}, [database]

    def _feature_masks(self) -> Path | None:
        """COLMAP's name of a mask is <image>.png."""
        if self.book.facts("masks")["kind"] == "none":
            raise ValueError(
                "--mask-features needs masks: give --masks a folder, color:RRGGBB or model:FILE.pt"
            )
        out = self.work / "feature-masks"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        for photo in self._photos:
            shutil.copyfile(
                self.work / "masks" / f"{Path(photo['name']).stem}.png", out / f"{photo['name']}.png"
            )
        return out

    def _matches(self) -> tuple[dict[str, Any], list[Path]]:
        names = [p["name"] for p in self._photos]
        how, why = pairs.method(self.options.matching, len(names), self.video)
        wanted = pairs.pairs(how, len(names))
        with self.progress.task("matches", len(wanted)) as task, sfm.speaking(self.database):
            found = sfm.match(self.database, names, wanted, self.options.seed, task.tick)
        partners = np.bincount(np.array([k for i, j, _ in found for k in (i, j)], int), minlength=len(names))
        log.info("matches   %s (%s): %d of %d pairs fit together", how, why, len(found), len(wanted))
        if not found:
            raise ValueError(messages.too_few(self.book, "no two images show the same thing"))
        return {"how": how, "partners": dict(zip(names, partners.tolist(), strict=True))}, [self.database]

    def _poses(self) -> tuple[dict[str, Any], list[Path]]:
        groups, _ = self._groups()
        names = [p["name"] for p in self._photos]
        with self.progress.task("poses", len(names)) as task, sfm.speaking(self.database):
            best, attempts = sfm.solve(
                self.database, self.work / "images", len(names), groups, self.options.lens, self.threads,
                self.options.seed, lambda line: log.info("poses     %s", line), task.reach,
            )  # fmt: skip
        if best.registered < FEWEST:
            raise ValueError(
                messages.too_few(self.book, "no reconstruction of three or more images was found")
            )
        folder = self.work / "model"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        best.model.write(folder)
        registered = sorted(i.name for i in best.model.images.values() if i.has_pose)
        facts = {
            "registered": registered,
            "unregistered": [n for n in names if n not in set(registered)],
            "attempts": [str(a) for a in attempts],
            "error": best.error,
            "points": int(best.model.num_points3D()),
            "cameras": sfm.cameras_told(best.model),
        }
        return facts, [folder]

    def _flatten(self) -> tuple[dict[str, Any], list[Path]]:
        masked = self.book.facts("masks")["kind"] != "none"
        n = len(self.book.facts("poses")["registered"])
        images, cover = self.out / "images", self.out / "masks"
        with self.progress.task("flatten", n) as task:
            found = undistort.flatten(
                self.work / "model", self.work / "images", self.work / "masks" if masked else None, images, cover,
                self.threads, self.book.own, task.tick,
            )  # fmt: skip
        reconstruction.save(self.work / "solved.npz", found)
        return {"masked": masked}, [self.work / "solved.npz", images, *([cover] if masked else [])]

    def _solved(self) -> Solved:
        return reconstruction.load(self.work / "solved.npz")

    def _region(self) -> tuple[dict[str, Any], list[Path]]:
        o, found = self.options, self._solved()
        if o.box is not None or o.sphere is not None:
            made = region.given_region(o.box, o.sphere, o.margin)
            region.check_region(found, made)
        else:
            made = self._own_region(found)
        log.info(
            "region    centre %s, radius %.4g: %s", np.round(made.centre, 3).tolist(), made.radius, made.why
        )
        return {
            "low": made.low.tolist(), "high": made.high.tolist(), "centre": made.centre.tolist(),
            "radius": made.radius, "why": made.why,
        }, [self.out / "images"]  # fmt: skip

    def _own_region(self, found: Solved) -> Region:
        if not self.book.facts("flatten")["masked"]:
            return region.region_of_points(found, None, self.options.margin)[0]
        folder = self.out / "masks"
        cover = small_masks(
            found.names,
            lambda view: small_mask(folder / writers.mask_name(found.names[view])),
            contact_sheet.HULL_VIEWS,
        )
        return region.region_of_masks(found, cover, self.options.margin)

    def region(self) -> Region:
        facts = self.book.facts("region")
        low, high, centre = (np.array(facts[k]) for k in ("low", "high", "centre"))
        return Region(low, high, centre, facts["radius"], facts["why"])

    def _layout(self, layout: str) -> tuple[dict[str, Any], list[Path]]:
        found = self._solved()
        masked = self.book.facts("flatten")["masked"]
        with self.progress.task(layout, len(found)) as task:
            files = writers.WRITERS[layout](
                self.out,
                found,
                self.region().to_world,
                masked,
                self.options.test_every,
                self.threads,
                task.tick,
            )
        return {}, files

    def _sheet(self) -> tuple[dict[str, Any], list[Path]]:
        masked = self.book.facts("flatten")["masked"]
        view = prepared_view(self.out, self._solved(), self.region(), masked)
        facts = contact_sheet.draw(view, messages.found(self.book), self.out / SHEET)
        for line in facts:
            log.info("sheet     %s", line)
        return {"lines": facts}, [self.out / SHEET]
