"""Timings of kernels, of training steps and of scores, beside the ways in which other programs do the same.

May import: app, config, data, encodings, evaluation, fields, geometry, losses, meshes, models, ops, runtime, training,
types.

scripts/bench.py runs them and writes a page into docs/benchmarks. kernels.py, steps.py and surfaces.py define the
cases, timing.py, memory.py and limits.py measure, rivals.py holds the ways of other programs. card.py has the parts of
scripts/gpu_check.py, the acceptance on a graphics card.
"""
