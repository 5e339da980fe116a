"""Records -> a folder on which a person compares runs by looking, opened from disk without server or network.

The way of a page: facts.py (what is said of a run), images.py, meshes.py, curves.py (what is drawn of it) ->
folder.py (the files). What the browser does with them is in static/; static/vendor/ holds the libraries.
"""

from isosweep.report.browse.page import PageLimits, WrittenPage, write_page
from isosweep.report.browse.pipeline import make_page

__all__ = ["PageLimits", "WrittenPage", "make_page", "write_page"]
