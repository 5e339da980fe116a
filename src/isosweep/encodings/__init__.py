"""Encodings turn points and directions into features: frequencies, hash grid, spherical harmonics.

May import: bounds, errors, ops.
"""
