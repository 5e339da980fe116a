"""Benchmarks from their authors' addresses: one scene out of a large archive, checked, unpacked where its loader looks.

May import: errors, runtime.
"""
