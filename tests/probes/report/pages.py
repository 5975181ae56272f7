"""What a reader of the report's page sees, section by section."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

import pandas as pd


@dataclass
class Shown:
    """A section of the page; ``pictures`` are what the images' sources hold, in base64."""

    key: str
    question: str = ""
    verdicts: list = field(default_factory=list)
    pictures: list = field(default_factory=list)
    tables: list = field(default_factory=list)
    titles: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    command: str = ""


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.sections, self.pointers = [], []
        self.text, self.in_verdict, self.in_head = None, False, False
        self.header, self.rows = [], []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.pointers += [given[name] for name in ("src", "href") if name in given]
        if tag in ("h2", "h3", "p", "th", "td", "pre"):
            self.text = ""
        if tag == "h2":
            self.sections.append(Shown(given["id"]))
        elif tag == "div":
            self.in_verdict = given.get("class") == "verdict"
        elif tag == "img":
            self.sections[-1].pictures.append(given["src"].removeprefix("data:image/png;base64,"))
        elif tag == "table":
            self.header, self.rows = [], []
        elif tag == "thead":
            self.in_head = True
        elif tag == "tr" and not self.in_head:
            self.rows.append([])

    def handle_data(self, data):
        if self.text is not None:
            # Blanks at which no line ends are blanks to a reader.
            self.text += data.replace("\u00a0", " ")

    def handle_endtag(self, tag):
        here = self.sections[-1] if self.sections else Shown("")
        if tag == "thead":
            self.in_head = False
        elif tag == "div":
            self.in_verdict = False
        elif tag == "table":
            here.tables.append(pd.DataFrame(self.rows, columns=self.header or None))
        elif tag == "h2":
            here.question = self.text
        elif tag == "h3":
            here.titles.append(self.text)
        elif tag == "p":
            (here.verdicts if self.in_verdict else here.notes).append(self.text)
        elif tag in ("th", "td"):
            (self.header if self.in_head else self.rows[-1]).append(self.text)
        elif tag == "pre":
            here.command = self.text


def read_page(text):
    """Return the sections of a page by their names, and all that it points to."""
    reader = _Reader()
    reader.feed(text)
    return {section.key: section for section in reader.sections}, reader.pointers


def cell(table, column, **where):
    """Return the one cell of a table of text that stands in the row with these values."""
    rows = table
    for name, value in where.items():
        rows = rows[rows[name] == value]
    assert len(rows) == 1, f"{len(rows)} rows with {where} in\n{table}"
    return rows[column].item()
