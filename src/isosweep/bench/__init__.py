"""Timings of kernels, of training steps and of scores, beside the ways in which other programs do the same.

May import: app, config, encodings, evaluation, fields, geometry, meshes, ops, runtime, training, types.
"""
