"""Titles, captions, names in legends and answers keep a number and its sign on one line."""

import shlex

from hypothesis import given
from hypothesis import strategies as st

from figures.line_breaks import wrapped
from figures.style import KEY_CHARACTERS, Drawing

#: What no line ends with, and none begins with.
SIGNS = ("=", "±", "≤", "≥", "<", ">", "×")
#: Words, and what belongs together, none of it longer than a line.
TOGETHER = ["average", "of", "95 %", "p = 0.1", "0.51 ± 0.05", "n ≥ 8", "a < b", "2 × 3", "8 ≤ n"]


@given(st.lists(st.sampled_from(TOGETHER), min_size=1, max_size=40), st.integers(11, 60))
def test_what_belongs_together_stays_on_one_line_and_no_word_is_lost(words, width):
    text = ", ".join(words)
    lines = wrapped(text, width + 1)
    assert " ".join(lines) == text
    for line in lines:
        assert not {line.split()[0], line.split()[-1]} & {*SIGNS, "%"} or line.endswith("95 %")


def test_titles_captions_and_legends_have_the_rule():
    text = "It changes by 0.51 ± 0.05 at p = 0.1 of 95 % intervals. " * 5
    figure = Drawing(figsize=(4, 3)).titled(text).described(text)
    axes = figure.subplots()
    axes.plot([0], [0], label="a mean gap of the networks, N = 16")
    (name,) = figure.keyed(axes.get_legend_handles_labels()).legends[0].get_texts()
    assert len(name.get_text()) > KEY_CHARACTERS
    for shown in (figure.get_suptitle(), figure.get_supxlabel(), name.get_text()):
        lines = shown.splitlines()
        assert len(lines) > 1
        assert not any(line.split()[0] in (*SIGNS, "%") for line in lines)
        assert not any(line.split()[-1] in SIGNS for line in lines)


WORD = st.sampled_from(
    ["--n", "64", "--learning_rate", "0.0096", "'my texts.csv'", '"LoRA Dropout, N = 4"', "'a b c'"]
)


@given(st.lists(WORD, max_size=12), st.integers(20, 100))
def test_a_command_can_be_pasted_as_it_is_broken(words, width):
    """At the end of a line without a backslash a shell would run the half of it."""
    command = " ".join(["python -m probes.finetune", *words])
    lines = wrapped(f"To fine-tune:\n{command}", width)
    assert lines[0] == "To fine-tune:"
    pasted = "\n".join(lines[1:])
    assert shlex.split(pasted.replace("\\\n", "")) == shlex.split(command)
    assert all(line.endswith(" \\") for line in lines[1:-1])
