"""Meshes: extraction from a field, files, ray casting, and connected components.

May import: config, errors, runtime, types.
"""
