"""Compile every Triton kernel to machine code for the cards named, none of which need be there.

``python -m tests.ops.triton_compile 90 75``: one line a kernel and card, and exit code 1 if one fails;
for the first card in float64 too.
"""

import sys
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from isosweep.ops.triton import batch as triton_batch
from isosweep.ops.triton import grid as triton_grid
from isosweep.ops.triton import hidden as triton_hidden
from isosweep.ops.triton import rays as triton_rays
from isosweep.ops.triton import section as triton_section

INTEGERS = dict.fromkeys(("n", "cells", "max_samples", "views", "behind_stride"), "i32")
POINTERS = {
    "resolution_ptr": "*i32",
    "size_ptr": "*i32",
    "offset_ptr": "*i64",
    "dense_ptr": "*u8",
    "occupied_ptr": "*u8",
    "count_ptr": "*i64",
    "index_ptr": "*i64",
    "pixels_ptr": "*u8",
} | {f"{name}_ptr": "*i64" for name in ("choice", "among", "hw", "view", "row", "col")}
GRID = {"L": 16, "F": 2, "FP": 2, "FIRST": 0, "BLOCK": 256}
ROW = {"FIRST": 0, "D": 32, "DP": 32, "BLOCK": 64}
HIDDEN = {"H": 48, "HP": 64, "BLOCK": 32}
POINT = {"FIRST": 3}
SUM = {"C": 8, "CP": 8, "CHUNK": 64}
BOTH = {"WITH_ALPHA": True, "WITH_NORMAL": True}
KERNELS: list[tuple[Any, dict[str, int]]] = [
    (triton_grid.encode, GRID | {"JACOBIAN": False}),
    (triton_grid.encode, GRID | {"JACOBIAN": True}),
    (triton_grid.encode, GRID | POINT | {"JACOBIAN": True}),
    (triton_grid.scatter, GRID | {"WITH_Y": True, "WITH_JACOBIAN": True, "OUTER": False}),
    (triton_grid.scatter, GRID | POINT | {"WITH_Y": True, "WITH_JACOBIAN": True, "OUTER": True}),
    (triton_grid.scatter, GRID | {"WITH_Y": True, "WITH_JACOBIAN": False, "OUTER": False, "F": 3, "FP": 4}),
    (triton_grid.pull, ROW),
    (triton_grid.pull, ROW | POINT),
    (triton_grid.pull_backward, ROW | {"WITH_JACOBIAN": True, "WITH_G": True}),
    (triton_grid.pull_backward, ROW | POINT | {"WITH_JACOBIAN": False, "WITH_G": True}),
    (triton_hidden.activate, HIDDEN | {"WITH_GRADIENT": True}),
    (triton_hidden.activate, HIDDEN | {"WITH_GRADIENT": False}),
    (triton_hidden.activate_backward, HIDDEN | {"WITH_VALUE": True, "WITH_GRADIENT": True}),
    (triton_hidden.activate_backward, HIDDEN | {"WITH_VALUE": True, "WITH_GRADIENT": False}),
    (triton_rays.march, {"FILL": False, "CONE": False, "BLOCK": 128}),
    (triton_rays.march, {"FILL": True, "CONE": True, "BLOCK": 128}),
    (triton_rays.weights, {"VISIBLE": False, "CHUNK": 64}),
    (triton_rays.weights, {"VISIBLE": True, "CHUNK": 64}),
    (triton_rays.weights_backward, {"CHUNK": 64}),
    (triton_rays.accumulate, SUM),
    (triton_rays.accumulate_backward, SUM | {"WITH_W": True, "WITH_VALUES": True}),
    (triton_batch.pixel_places, {"CROP": True, "BLOCK": 128}),
    (triton_batch.gather_pixels, {"C": 4, "BLOCK": 128}),
    (triton_batch.over, {"BLOCK": 128}),
    (triton_batch.pixel_rays, {"BLOCK": 128}),
    (triton_batch.box_hit, {"BLOCK": 128}),
    (triton_batch.spherical_harmonics, {"DEGREE": 4, "BLOCK": 128}),
    (triton_section.section, {"UNIT": False, "BLOCK": 256}),
    (triton_section.section, {"UNIT": True, "BLOCK": 256}),
    (triton_section.section_backward, {"UNIT": False, "BLOCK": 256} | BOTH),
    (triton_section.section_backward, {"UNIT": True, "BLOCK": 256} | BOTH),
    (triton_section.points, {"BLOCK": 256}),
    (triton_section.density, {"BLOCK": 256}),
    (triton_section.density_backward, {"BLOCK": 256}),
]


def compiled_size(kernel: Any, constants: dict[str, int], card: int, number: str) -> int:
    """Bytes of machine code for a card of compute capability ``card`` / 10, on tensors of ``number``."""
    names = kernel.arg_names
    types = {name: POINTERS.get(name, f"*{number}") for name in names if name.endswith("_ptr")} | INTEGERS
    if constants.get("VISIBLE"):
        types["w_ptr"] = "*u8"
    signature = {name: "constexpr" if name in constants else types[name] for name in names}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    options = {"num_warps": 4, "enable_fp_fusion": False}
    return len(triton.compile(source, target=GPUTarget("cuda", card, 32), options=options).asm["cubin"])


def main(cards: list[int]) -> int:
    failed = 0
    for card in cards:
        for number in ("fp32", "fp64") if card == cards[0] else ("fp32",):
            for kernel, constants in KERNELS:
                name = f"sm_{card} {number} {kernel.__name__} {constants}"
                try:
                    print(name, compiled_size(kernel, constants, card, number), "bytes", flush=True)
                except Exception as error:
                    print(name, "FAILED", repr(error)[:2000], flush=True)
                    failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main([int(card) for card in sys.argv[1:]]))
