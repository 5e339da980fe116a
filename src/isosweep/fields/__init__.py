"""Fields are functions of points in space: signed distance, density and colour, with the gradients they need.

May import: encodings, errors, ops.
"""
