"""What this machine has of what isosweep needs, on one page, and what to do about the rest.

May import: bench, errors, launchers, ops, runtime, trackers.

The page is for machines on which something is missing. So its files need the standard library alone when they are
loaded, and each check imports what it looks at. kernels.py, which imports torch, runs in a process of its own.
"""
