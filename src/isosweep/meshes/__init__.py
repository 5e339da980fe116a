"""Meshes: extracted from a field, read from files and written to them, met by rays, taken apart.

May import: config, errors, runtime, types.
"""
