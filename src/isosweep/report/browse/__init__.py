"""Records become a page on which a person compares runs by looking; it opens from disk, without server or network.

May import: errors, record, runtime.

run_details.py collects what the page says of a run; images.py, meshes.py and curves.py make what it draws; page.py
writes the folder. The page's own scripts are in static/, the libraries that they use in static/vendor/.
"""

from isosweep.report.browse.page import PageLimits, WrittenPage, write_page
from isosweep.report.browse.pipeline import make_page

__all__ = ["PageLimits", "WrittenPage", "make_page", "write_page"]
