"""The whole preparation: its stages, what each needs and does, and the report at the end.

The scene is <out>/images, <out>/masks and the files of the layouts. <out>/work holds copies of the input,
COLMAP's database and its model.
"""

import logging
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from isosweep.errors import InputError
from isosweep.prepare import (
    contact_sheet,
    mapper,
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
from isosweep.prepare.options import PrepareOptions
from isosweep.prepare.photos import CopiedPhoto
from isosweep.prepare.progress import Progress
from isosweep.prepare.reconstruction import Reconstruction
from isosweep.prepare.region import Region
from isosweep.prepare.stages import Manifest, Stage, claim_folder, fingerprint, locked
from isosweep.prepare.views import fit_warnings, prepared_view, small_mask, small_masks
from isosweep.runtime.cores import usable_cores

log = logging.getLogger("isosweep")
FEWEST_IMAGES = 3
Result = tuple[dict[str, Any], list[Path]]
"""What a stage returns: its facts, and the files that it made."""


POSE_THREADS = 1
"""Of COLMAP's mapper, where ``threads`` is not given: with several, its sums have another order in each call, and its
poses differ in their last digits or in whole images."""


class Preparation:
    """The preparation of one folder.

    Raises:
        ValueError: an option is out of its range, or the input is neither a folder nor a video.
        FileNotFoundError: the input does not exist, or the folder has no photographs.
    """

    def __init__(self, options: PrepareOptions, progress: Progress) -> None:
        options.check()
        self.options, self.progress = options, progress
        self.out, self.work = options.out, options.out / "work"
        self.database = self.work / "colmap" / "database.db"
        self.threads = options.threads or usable_cores()
        self.video = video_frames.is_video(options.source) and not options.source.is_dir()
        self.files, self.unsupported = self._find_input()
        self.manifest = Manifest(self.out, self._stages())

    def _find_input(self) -> tuple[list[Path], dict[str, str]]:
        """The video or the photographs, and the image files of unsupported formats with the reason."""
        source = self.options.source
        if self.video:
            if not source.is_file():
                raise FileNotFoundError(f"no video {source}: give a video file, or a folder of photographs")
            return [source], {}
        if source.is_file():
            endings = " ".join(sorted(video_frames.ENDINGS))
            raise InputError(f"{source} is neither a folder of photographs nor a video ({endings})")
        return photos.list_photos(source)

    def run(self) -> list[str]:
        """Run every stage that is not current. Returns the report, as lines for the terminal."""
        claim_folder(self.out)
        with locked(self.out):
            if not self.manifest.is_current("flatten"):
                # an error of the undistortion that is known before the long stages
                self.manifest.check_no_foreign_files()
            # layouts of earlier calls share images/ and masks/ with the new ones, and must not become outdated
            earlier = [name for name in writers.WRITERS if name in self.manifest.entries]
            for layout in dict.fromkeys((*self.options.layouts, *earlier)):
                self.manifest.ensure(layout)
            self.manifest.ensure("sheet")
            # stored only now: options with which the preparation failed are not taken over by the next call
            self.manifest.options = self.options.non_defaults()
            self.manifest.write()
            return messages.final_report(self.manifest, self.options.layouts)

    def _stages(self) -> list[Stage]:
        """All stages. Their names and the keys of their settings are stored in every prepared folder."""
        o = self.options
        images = {"input": fingerprint(self.files), "size": o.size}
        if self.video:
            images |= {"frames": o.frames, "start": o.start, "end": o.end}
        features = {
            "features": o.features, "camera": o.camera, "lens": o.lens, "focal": o.focal,
            "mask features": o.mask_features,
        }  # fmt: skip
        stages = [
            Stage("images", images, (), self._images),
            Stage("masks", {"masks": o.masks, **self._mask_input()}, ("images",), self._masks),
            Stage(
                "features", features, ("images", "masks") if o.mask_features else ("images",), self._features
            ),
            Stage("matches", {"matching": o.matching, "seed": o.seed}, ("features",), self._matches),
            Stage("poses", {"seed": o.seed}, ("matches",), self._poses),
            Stage("flatten", {}, ("poses", "masks"), self._undistort),
            Stage(
                "region", {"box": o.box, "sphere": o.sphere, "margin": o.margin}, ("flatten",), self._region
            ),
            Stage("sheet", {}, ("region",), self._sheet),
        ]
        for layout in writers.WRITERS:
            settings = {"test_every": o.test_every} if layout in ("blender", "nerfstudio") else {}
            stages.append(Stage(layout, settings, ("region",), lambda layout=layout: self._layout(layout)))
        return stages

    def _mask_input(self) -> dict[str, Any]:
        """A fingerprint of the masks' folder or of the segmentation model, so that a change is noticed."""
        model, folder, sam = self.options.mask_model, self.options.mask_folder, self.options.mask_sam
        if sam is not None:
            # weights have gigabytes: their name and size are told apart quickly
            size = sam.stat().st_size if sam.is_file() else 0
            return {"input": f"{sam.name} {size}", "point": self.options.mask_point}
        if model is not None and model.is_file():
            return {"input": fingerprint([model])}
        if folder is not None and folder.is_dir():
            return {"input": fingerprint(sorted(p for p in folder.iterdir() if p.is_file()))}
        return {}

    # --- the stages; the keys of their facts are stored in prepare.json ---

    def _images(self) -> Result:
        """Working copies of the photographs, or frames of the video, in work/images."""
        folder, alphas = self.work / "images", self.work / "alpha"
        for old in (folder, alphas):
            shutil.rmtree(old, ignore_errors=True)
        usable, skipped = self._save_frames(folder) if self.video else self._copy_photos(folder, alphas)
        return {"photos": [asdict(p) for p in usable], "left": skipped}, [folder]

    def _save_frames(self, folder: Path) -> tuple[list[CopiedPhoto], dict[str, str]]:
        o = self.options
        with self.progress.bar("frames", None) as bar:
            saved, n = video_frames.extract_frames(
                self.files[0], folder, o.frames, o.size, o.start, o.end, bar.set_total, bar.tick
            )
        log.info("frames    %d of %d frames of %s", len(saved), n, self.files[0].name)
        unknown = Focal(None, "a video states no focal length")
        return [CopiedPhoto(name, name, w, h, unknown, False, False) for name, w, h, _ in saved], {}

    def _copy_photos(self, folder: Path, alphas: Path) -> tuple[list[CopiedPhoto], dict[str, str]]:
        with self.progress.bar("images", len(self.files)) as bar:
            usable, damaged = photos.copy_photos(
                self.files, folder, alphas, self.options.size, self.threads, bar.tick
            )
        skipped = self.unsupported | damaged
        for name, reason in skipped.items():
            log.warning("skipped   %s %s", name, reason)
        if len(usable) < FEWEST_IMAGES:
            reasons = "; ".join(f"{name} {reason}" for name, reason in list(skipped.items())[:3])
            raise InputError(
                f"{len(usable)} usable photographs in {self.options.source}, and {FEWEST_IMAGES} or more are needed"
                + (f" ({reasons})" if reasons else "")
            )
        turned = sum(p.turned for p in usable)
        sizes = sorted({(p.width, p.height) for p in usable})
        log.info(
            "images    %d photographs of %s%s",
            len(usable),
            ", ".join(f"{w}x{h}" for w, h in sizes[:4]) + (" ..." if len(sizes) > 4 else ""),
            f"; {turned} turned upright" if turned else "",
        )
        return usable, skipped

    @property
    def _photos(self) -> list[dict[str, Any]]:
        """The fields of each `CopiedPhoto` of the stage images."""
        return self.manifest.facts("images")["photos"]

    @property
    def _names(self) -> list[str]:
        """File names of the working copies."""
        return [p["name"] for p in self._photos]

    def _masks(self) -> Result:
        """Masks of the working copies in work/masks."""
        out = self.work / "masks"
        shutil.rmtree(out, ignore_errors=True)
        transparent = [p["source"] for p in self._photos if p["alpha"]]
        source = masks.parse_masks(
            self.options.masks, len(transparent), len(self._photos), self.options.mask_point
        )
        if source.kind == "none":
            if transparent and self.options.masks == "auto":
                log.warning(
                    "masks     %d of %d photographs are transparent in part (%s), ignored: --masks alpha uses it",
                    len(transparent), len(self._photos), messages.first_names(transparent),
                )  # fmt: skip
            return {"kind": "none", "without": []}, []
        files = [(p["name"], p["source"]) for p in self._photos]
        with self.progress.bar("masks", len(files)) as bar:
            without = masks.make_masks(
                source, files, self.work / "images", self.work / "alpha", out, self.threads, bar.tick
            )
        log.info("masks     %d by %s", len(files) - len(without), source.kind)
        if without:
            log.warning("no mask   %s: foreground everywhere", messages.first_names(without))
        return {"kind": source.kind, "without": without}, [out]

    def _groups(self) -> tuple[list[Group], list[str]]:
        """Which photographs share a camera, and warnings about stated focal lengths."""
        focal = self.options.focal
        ratios: list[float | None] = [
            p["focal"]["ratio"] if focal is None else from_35mm(focal, p["width"], p["height"])
            for p in self._photos
        ]
        sizes = [(p["width"], p["height"]) for p in self._photos]
        return group_cameras(sizes, ratios, self.options.camera)

    def _features(self) -> Result:
        """SIFT features of the working copies in COLMAP's database.

        The file database.made-for holds the digest of the features in the database. With the same digest an
        interrupted stage continues in that database; with another one the stage starts a new database.
        """
        database, digest = self.database, self.manifest.digest("features")
        made_for = database.with_suffix(".made-for")
        if not made_for.is_file() or made_for.read_text() != digest:
            shutil.rmtree(database.parent, ignore_errors=True)
            database.parent.mkdir(parents=True)
            made_for.write_text(digest)
        groups, warnings = self._groups()
        if not self.options.focal:
            warnings = [*messages.unused_focal_lengths(self._photos), *warnings]
        for line in warnings:
            log.warning("%s", line)
        names = self._names
        feature_masks = self._feature_masks() if self.options.mask_features else None
        with self.progress.bar("features", len(names)) as bar, sfm.explained_errors(database):
            counts = sfm.extract_features(
                database, self.work / "images", names, groups, self.options.lens, self.options.features,
                feature_masks, self.threads, bar.tick,
            )  # fmt: skip
        log.info("features  %d an image (%d to %d)", int(np.median(counts)), min(counts), max(counts))
        return {"counts": dict(zip(names, counts, strict=True)), "said": warnings}, [database]

    def _feature_masks(self) -> Path:
        """Copies of the masks under the names that COLMAP expects, <image>.png."""
        if self.manifest.facts("masks")["kind"] == "none":
            raise InputError(
                "--mask-features needs masks: give --masks a folder, color:RRGGBB, model:FILE.pt or sam:FILE"
            )
        out = self.work / "feature-masks"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        for name in self._names:
            shutil.copyfile(self.work / "masks" / f"{Path(name).stem}.png", out / f"{name}.png")
        return out

    def _matches(self) -> Result:
        """Verified matches of pairs of images in COLMAP's database."""
        names = self._names
        method, reason = pairs.choose_method(self.options.matching, len(names), self.video)
        wanted = pairs.list_pairs(method, len(names))
        with self.progress.bar("matches", len(wanted)) as bar, sfm.explained_errors(self.database):
            verified = sfm.match_pairs(self.database, names, wanted, self.options.seed, bar.tick)
        both = np.array([k for i, j, _ in verified for k in (i, j)], int)
        partners = np.bincount(both, minlength=len(names)).tolist()
        log.info("matches   %s (%s): %d of %d pairs match", method, reason, len(verified), len(wanted))
        if not verified:
            raise InputError(messages.too_few_matches(self.manifest, "no two images show the same thing"))
        return {"how": method, "partners": dict(zip(names, partners, strict=True))}, [self.database]

    def _poses(self) -> Result:
        """COLMAP's sparse model in work/model."""
        groups, _ = self._groups()
        names = self._names
        with self.progress.bar("poses", len(names)) as bar, sfm.explained_errors(self.database):
            best, attempts = mapper.reconstruct(
                self.database, self.work / "images", len(names), groups, self.options.lens,
                self.options.threads or POSE_THREADS, self.options.seed,
                lambda line: log.info("poses     %s", line), bar.set_done,
            )  # fmt: skip
        if best.registered < FEWEST_IMAGES:
            problem = "no reconstruction of three or more images was found"
            raise InputError(messages.too_few_matches(self.manifest, problem))
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
            "cameras": mapper.describe_cameras(best.model),
        }
        return facts, [folder]

    def _undistort(self) -> Result:
        """Undistorted images/ and masks/, and the reconstruction with pin-hole cameras in work/solved.npz."""
        masked = self.manifest.facts("masks")["kind"] != "none"
        n = len(self.manifest.facts("poses")["registered"])
        images, out_masks = self.out / "images", self.out / "masks"
        with self.progress.bar("flatten", n) as bar:
            recon = undistort.undistort(
                self.work / "model", self.work / "images", self.work / "masks" if masked else None, images,
                out_masks, self.threads, self.manifest.take_over, bar.tick,
            )  # fmt: skip
        reconstruction.save(self.work / "solved.npz", recon)
        return {"masked": masked}, [self.work / "solved.npz", images, *([out_masks] if masked else [])]

    def _reconstruction(self) -> Reconstruction:
        return reconstruction.load(self.work / "solved.npz")

    @property
    def _masked(self) -> bool:
        """True if the scene has masks."""
        return self.manifest.facts("flatten")["masked"]

    def _region(self) -> Result:
        """The box and the sphere: the user's, or found by masks or points."""
        o, recon = self.options, self._reconstruction()
        if o.box is not None or o.sphere is not None:
            found = region.given_region(o.box, o.sphere, o.margin)
            region.check_region(recon, found)
        elif self._masked:
            path_of = {
                view: self.out / "masks" / writers.mask_name(name) for view, name in enumerate(recon.names)
            }
            small = small_masks(recon.names, lambda view: small_mask(path_of[view]), contact_sheet.HULL_VIEWS)
            found = region.region_of_masks(recon, small, o.margin)
        else:
            found, _ = region.region_of_points(recon, None, o.margin)
        log.info(
            "region    centre %s, radius %.4g: %s",
            np.round(found.centre, 3).tolist(), found.radius, found.found_by,
        )  # fmt: skip
        facts = {
            "low": found.low.tolist(), "high": found.high.tolist(), "centre": found.centre.tolist(),
            "radius": found.radius, "why": found.found_by,
            "nearest": float(np.linalg.norm(recon.c2w[:, :, 3] - found.centre, axis=1).min() / found.radius),
        }  # fmt: skip
        return facts, [self.out / "images", self.work / "solved.npz"]

    def region(self) -> Region:
        """The region that the stage of that name found, from its facts."""
        facts = self.manifest.facts("region")
        low, high, centre = (np.array(facts[k]) for k in ("low", "high", "centre"))
        return Region(low, high, centre, facts["radius"], facts["why"])

    def _layout(self, layout: str) -> Result:
        """The files of one layout."""
        recon = self._reconstruction()
        with self.progress.bar(layout, len(recon)) as bar:
            files = writers.WRITERS[layout](
                self.out, recon, self.region().to_world, self._masked, self.options.test_every, self.threads,
                bar.tick,
            )  # fmt: skip
        return {}, files

    def _sheet(self) -> Result:
        """The contact sheet."""
        content = prepared_view(self.out, self._reconstruction(), self.region(), self._masked)
        warnings = fit_warnings(content)
        facts = contact_sheet.draw(content, [*messages.summary(self.manifest), *warnings], self.out / SHEET)
        lines = [*warnings, *facts]
        for line in lines:
            log.info("sheet     %s", line)
        return {"lines": lines}, [self.out / SHEET]
