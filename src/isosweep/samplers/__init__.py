"""Samplers choose where along each ray a field is evaluated.

May import: bounds, errors, ops, types.
"""
