"""Every column of every table stands in the glossary, in the words of one file."""

import pytest

from tests import columns

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found():
    return columns.columns()


def test_the_page_is_what_is_written(found):
    assert columns.page(found) == columns.PAGE.read_text(encoding="utf-8")


def test_no_words_are_left_of_a_column_that_is_gone(found):
    assert columns.words().keys() == columns.plain(found).keys()
