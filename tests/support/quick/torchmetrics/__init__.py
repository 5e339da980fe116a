"""Stands in for torchmetrics in processes whose scores nobody looks at: it takes as long to import as torch.

A folder of ``PYTHONPATH`` that comes before the real one; `tests.support.processes` puts it there. What scores are is
tested with the real one, in tests/evaluation and tests/app.
"""
