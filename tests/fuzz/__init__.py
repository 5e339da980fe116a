"""Readers of files, fed with files that are wrong in some way: `python scripts/fuzz.py` (CONTRIBUTING.md).

`targets` lists the readers, `mutator` spoils a good input by a seed, `trial` reads one of them and judges the end.
"""
