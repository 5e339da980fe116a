"""docs/settings.md says what the declarations say."""

from pathlib import Path

from tests.support.settings_page import comments, page

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_is_what_the_declarations_say() -> None:
    there = (DOCS / "settings.md").read_text(encoding="utf-8")
    assert there == page(), "write it again: python -m tests.support.settings_page > docs/settings.md"


def test_a_field_has_the_comment_beside_or_above_it() -> None:
    source = "class A:\n    # above\n    # it\n    a: int = 3\n    b: int = 4  # beside\n    c: int = 5\n"
    assert comments(source) == {"a": "above it", "b": "beside", "c": ""}
