"""Records become a page on which a person compares runs by looking; it opens from disk, without server or network.

May import: errors, record.

The way of a page: facts.py (what is said of a run), images.py, meshes.py, curves.py (what is drawn of it) ->
folder.py (the files). What the browser does with them is in static/; static/vendor/ holds the libraries.
"""

from isosweep.report.browse.folder import Limits, Written, write_page
from isosweep.report.browse.making import make_page

__all__ = ["Limits", "Written", "make_page", "write_page"]
