"""The numba kernels: backend 'cpu'.

May import: types.
"""
