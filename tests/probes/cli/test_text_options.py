"""What a text task reads: each option reaches the task, or is refused where it means nothing."""

from dataclasses import fields

import pytest

from probes.cli.text_options import TextOptions
from probes.tasks.source_digest import digest_of


@pytest.fixture
def given(tmp_path):
    """A file and the folder of a model, which nothing opens yet."""
    (tmp_path / "reviews.csv").write_text("review,liked\ngood,1\nbad,0\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}")
    return {"data": str(tmp_path / "reviews.csv"), "model": str(tmp_path / "model")}


OTHERS = {
    "text_column": "review", "label_column": "liked", "encoding": "cp1252", "layers": 2,
    "pooling": "mean", "tokens": 7,
}  # fmt: skip


def test_a_source_has_every_option_and_what_its_files_hold(given):
    source = TextOptions(**given, **OTHERS).text_source("text")
    assert {name: getattr(source, name) for name in given | OTHERS} == given | OTHERS
    assert source.digest == digest_of(given["data"], given["model"])


@pytest.mark.parametrize("tokens", [2, 512, None])
def test_as_many_tokens_as_an_encoder_may_take(tokens, given):
    assert TextOptions(**given, tokens=tokens).text_source("text").tokens == tokens


@pytest.mark.parametrize("tokens", [1, 513, -1])
def test_and_no_more(tokens, given):
    with pytest.raises(ValueError, match=f"tokens must be from 2 to 512; got {tokens}"):
        TextOptions(**given, tokens=tokens).text_source("text")


@pytest.mark.parametrize("name", [field.name for field in fields(TextOptions)])
def test_every_option_is_refused_where_there_is_no_text(name):
    assert TextOptions().text_source("digits") is None
    options = {"data": "a.csv", "model": "a"} | OTHERS
    with pytest.raises(ValueError, match=f"{name} must be left out for task digits; got "):
        TextOptions(**{name: options[name]}).text_source("digits")


@pytest.mark.parametrize("name", ["reviews.csv", "reviews"])
def test_a_file_for_a_task_is_told_how_to_be_given(name, tmp_path, monkeypatch):
    """By its ending, or as it is there."""
    monkeypatch.chdir(tmp_path)
    if name == "reviews":
        (tmp_path / name).touch()
    with pytest.raises(
        ValueError, match=rf"task must be text for a file .--task text --data {name}"
    ):
        TextOptions().text_source(name)


@pytest.mark.parametrize(
    ("task", "changes", "said"),
    [
        ("text", {"data": None}, "data must be given for task text, and for no other; got None"),
        ("tweets", {}, "data must be given for task text, and for no other; got "),
        ("text", {"pooling": "x"}, "pooling must be one of cls, mean; got 'x'"),
        ("text", {"encoding": "x"}, "encoding must be one that Python knows"),
        ("text", {"layers": 0}, "layers must be at least 1; got 0"),
        ("text", {"data": "nowhere.csv"}, "there is no nowhere.csv"),
    ],
)
def test_what_is_wrong_is_named(task, changes, said, given):
    with pytest.raises(ValueError, match=said):
        TextOptions(**(given | changes)).text_source(task)
