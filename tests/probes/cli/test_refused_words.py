"""What a parser passes over or says in its own words is refused by name, in a line."""

from pathlib import Path

import pytest

from probes.cli.refused_words import check_words, refusal

DECLARED = {
    "n": int, "lr": float | None, "p": tuple[float, ...], "fast": bool, "out": Path | None,
    "text_column": str,
}  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        ["--n", "8", "--p", "0.1", "-0.3", "--fast"], ["--n=8", "--n", "9"], [], ["8", ""],
        ["--other", ""], ["--lr", "--fast"], ["--out", "top"], ["--out", "--p=1"],
    ],
)  # fmt: skip
def test_what_the_parser_can_take_or_refuse_itself_is_left_to_it(words):
    check_words(DECLARED, words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", ""], "out must not be empty"), (["--out="], "out must not be empty"),
        (["--text-column", ""], "text_column must not be empty"),
        (["--p", "0.1", ""], "p must not be empty"),
        (["--p"], "p must have a value; got none"),
        (["--p", "--n", "8"], "p must have a value; got none"),
        (["--fast", "yes"], "fast must be given without a value; got yes"),
        (["--fast=no"], "fast must be given without a value; got no"),
        (["--n", "8", "9"], "n must be one value; got 8 9"),
        (["--p", "0.1", "--p", "0.3"], "p must be given once"),
    ],
)  # fmt: skip
def test_what_it_would_pass_over_is_refused(words, said):
    with pytest.raises(ValueError, match=said):
        check_words(DECLARED, words)


@pytest.mark.parametrize("word", ["-x", "--"])
def test_a_value_that_reads_as_a_flag_is_told_how_to_be_given(word):
    complaint = "╭ Error ─╮\n│ Missing value for argument '--flag'. Expected 1 values. │\n"
    for name, flag in (("out", "--out"), ("text_column", "--text-column")):
        said = f"{name} must be given as {flag}=VALUE if that begins with -; got {word!r}"
        assert refusal(DECLARED, ["--n", "8", flag, word], complaint) == said
        assert refusal(DECLARED, [flag, word], "╭╮\n│ Other. │") == "Other."


def test_what_is_needed_is_named():
    complaint = (
        "╭ Required ─╮\n│ Missing from x:  │\n│  --own-file PATH  │\n│   (required) │\n│ ----- │\n"
    )
    assert refusal(DECLARED, [], complaint) == "own_file must be given"
    # A flag that nobody knows is not needed, nor is one that the parser only mentions.
    unknown = complaint + "│ Unrecognized options: │\n│ --colour │\n"
    assert refusal(DECLARED, [], unknown) == "own_file must be given"
    assert refusal(DECLARED, [], "╭╮\n│ --n may not be so. │\n") == "--n may not be so."


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--n", "8.5"], "n must be a whole number; got '8.5'"),
        (["--n", "None"], "n must be a whole number; got 'None'"),
        (["--p", "None"], "p must be a number; got 'None'"),
        (["--lr", "None", "--p", "0.1", "high"], "p must be a number; got 'high'"),
        (["--lr=x"], "lr must be a number; got 'x'"),
        (["--n"], "n must have a value; got none"),
        (["--p", "0,1"], "p must be a number; got '0,1', but several have blanks between them"),
        (["--n", "8,16"], "n must be a whole number; got '8,16'"),
        (["--text-column"], "text_column must have a value; got none"),
        *[(words, "Unknown. Really.") for words in (["--colour", "x"], ["--p"], ["--fast"])],
    ],
)
@pytest.mark.parametrize(
    "complaint",
    ["╭─ Error ─╮\n│ Unknown.  │\n│ Really. │\n│ ─── │\n│ For full helptext │\n╰────╯\n",
     "+- Error -+\n| --------- |\n| Unknown.  |\n| Really. |\n| --- |\n| For full helptext |\n"],
)  # fmt: skip
def test_a_complaint_is_said_in_our_words_or_without_its_frame(words, said, complaint):
    assert refusal(DECLARED, words, complaint) == said
