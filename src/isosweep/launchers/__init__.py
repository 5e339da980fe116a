"""Many runs from one command: planned, started in local slots or on SLURM, watched, and started again.

May import: app, config, errors, record, report, runtime, trackers.
"""
