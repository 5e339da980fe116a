"""Messages quote what files hold, and a damaged file holds anything."""

import pickle

import pytest

from isosweep.errors import InputError, MissingLibraryError, UserError
from isosweep.report.keys import ReportError

KINDS = (UserError, InputError, MissingLibraryError, ReportError)


@pytest.mark.parametrize("kind", KINDS)
def test_a_word_of_thousands_of_characters_is_shown_by_its_ends(kind: type[UserError]) -> None:
    error = kind(f"scene.json: could not convert '{'a' * 9000}', look there")
    assert str(error) == f"scene.json: could not convert '{'a' * 99}...{'a' * 98}', look there"
    assert str(pickle.loads(pickle.dumps(error))) == str(error), "as it comes from another process"


def test_a_path_stays_whole() -> None:
    path = "/" + "b" * 990
    assert str(InputError(f"no runs in {path}: look")) == f"no runs in {path}: look"


def test_many_words_stay() -> None:
    names = ", ".join(f"view_{i}" for i in range(2000))
    assert str(InputError(names)) == names
