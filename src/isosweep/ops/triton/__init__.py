"""The Triton kernels: backend 'cuda'.

May import: types.
"""
