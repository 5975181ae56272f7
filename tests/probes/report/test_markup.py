"""The page as a machine reads it: what opens closes, links lead somewhere, tables have headers."""

from html.parser import HTMLParser

import pandas as pd
import pytest

from probes.report.findings import Finding
from probes.report.page import LONG_TABLE, Section, render
from probes.results.text_tables import TextTable

#: Elements that have no end.
VOID = {"meta", "img"}


class Markup(HTMLParser):
    """Names, links and alternative texts of a page, and the scopes of its headers."""

    def __init__(self, text):
        super().__init__()
        self.names, self.links, self.texts, self.scopes, self.open = [], [], [], [], []
        self.empty, self.said = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.names += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if tag == "a" else []
        self.texts += [given["alt"]] if tag == "img" else []
        self.scopes += [given.get("scope")] if tag == "th" else []
        self.open += [tag] if tag not in VOID else []
        self.said = ""

    def handle_data(self, data):
        self.said += data.strip()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in ("p", "h1", "h2", "h3", "a", "th", "summary") and not self.said:
            self.empty.append(tag)


@pytest.fixture(scope="module")
def markup():
    rows = [str(number) for number in range(LONG_TABLE + 1)]
    tables = [TextTable(pd.DataFrame({"p": some, "verdict": "holds"}), title)
              for some, title in ((rows, "long"), (rows[:2], ""))]  # fmt: skip
    regimes = Finding("In which?", "", ["A line."], tables[1:])
    asked = Finding("Is it?", "the setting", ["Yes.", "A line."], tables)
    return Markup(
        render(
            [
                Section("regimes", regimes, [], "python -m probes.curves"),
                Section("joint", asked, [], "", together=True),
                Section("part-0.003", asked, ["AAAA", "BBBB"], "python -m probes.x", regime="r"),
            ]
        )
    )


def test_every_link_leads_to_a_name_that_stands_once(markup):
    assert markup.links == ["#words", "#how", "#regimes", "#joint", "#part-0.003"]
    assert {link[1:] for link in markup.links} <= set(markup.names)
    assert len(set(markup.names)) == len(markup.names)


def test_what_opens_closes_and_says_something(markup):
    assert markup.open == []
    assert markup.empty == []


def test_pictures_have_texts_and_tables_headers(markup):
    assert markup.texts == ["Is it? the setting"] * 2
    assert set(markup.scopes) == {"col", "row"}
    assert markup.scopes.count("col") == 2 * 5
