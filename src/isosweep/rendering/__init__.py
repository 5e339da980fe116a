"""Whole views of a model, and the pictures, grids and videos that are made of them.

May import: config, errors, geometry, meshes, runtime, types.
"""
