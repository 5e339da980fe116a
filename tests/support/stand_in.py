"""A stand-in for another program: its command line and its folder of results, and no method in it. Standard library
alone.

It "trains" by printing steps, copies the mesh that a test gives it, and "renders" the prepared test images.
"""

import argparse
import shutil
import sys
import time
from pathlib import Path


def main() -> int:
    own = argparse.ArgumentParser()
    own.add_argument("--data", type=Path, required=True)
    own.add_argument("--out", type=Path, required=True)
    own.add_argument("--mesh", type=Path)
    own.add_argument("--steps", type=int, default=4)
    own.add_argument("--seed", type=int, default=0)
    own.add_argument("--lambda_normal", type=float, default=0.0)
    own.add_argument("--fail-at", type=int)
    own.add_argument("--last-words", default="something went wrong")
    own.add_argument("--hang-at", type=int)
    own.add_argument("--slow", type=float, default=0.01, help="seconds of a step")
    own.add_argument("--quiet", action="store_true")
    own.add_argument("--no-mesh", action="store_true")
    own.add_argument("--no-renders", action="store_true")
    own.add_argument("--resume", type=Path)
    given = own.parse_args()
    with (given.out / "starts.txt").open("a") as file:
        file.write(f"{given.seed} {given.lambda_normal} {given.resume}\n")
    first = int(given.resume.read_text()) if given.resume else 0
    for step in range(first + 1, given.steps + 1):
        if step == given.hang_at:
            time.sleep(600)
        if not given.quiet:
            print(f"\rstep {step}/{given.steps} loss=0.{step} PSNR: {20 + step}.5", end="", flush=True)
        (given.out / f"ckpt_{step}.txt").write_text(str(step))
        if step == given.fail_at and given.resume is None:
            print(f"\n{given.last_words}", file=sys.stderr)
            return 3
        time.sleep(given.slow)
    if given.mesh is not None and not given.no_mesh:
        (given.out / "meshes").mkdir(exist_ok=True)
        shutil.copy(given.mesh, given.out / "meshes" / f"{given.steps:08d}.ply")
    if not given.no_renders and (given.data / "test").is_dir():
        shutil.copytree(given.data / "test", given.out / "renders", dirs_exist_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
