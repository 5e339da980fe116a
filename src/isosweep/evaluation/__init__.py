"""Scores of images and of meshes under a named protocol, for our runs and for the results of other programs.

May import: config, data, errors, geometry, meshes, record, rendering, runtime, types.
"""
