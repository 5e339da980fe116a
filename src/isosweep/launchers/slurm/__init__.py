"""A sweep on a SLURM cluster: its request is checked, its jobs are submitted, and their states are read.

May import: errors, record.
"""
