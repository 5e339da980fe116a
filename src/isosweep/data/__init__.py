"""Data sets: one file per format turns a folder on disk into a `Scene`; image store; training batches.

May import: bounds, download, errors, geometry, ops, runtime, types.
"""
