"""What data and models are made of: contents here, revisions of what is on the hub. No network."""

import os
import sys
from types import SimpleNamespace

import huggingface_hub
import pytest

from probes.tasks import source_digest
from probes.tasks.source_digest import digest_of, hub_revision


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache of the hub with a model and a data set, where the hub itself cannot be reached."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    # The library keeps a value of its own.
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(config=SimpleNamespace()))

    def commit(folder, revision):
        refs = tmp_path / folder / "refs"
        refs.mkdir(parents=True, exist_ok=True)
        (refs / "main").write_text(revision)

    commit("models--acme--tiny", "a" * 40)
    commit("datasets--acme--texts", "b" * 40)
    return commit


def test_the_revision_is_that_of_the_copy_here(hub):
    assert hub_revision("acme/tiny", "model") == "a" * 40
    assert hub_revision("acme/texts", "dataset") == "b" * 40
    assert hub_revision("acme/unknown", "model") == ""


def test_a_hub_that_cannot_be_reached_is_asked_once(hub, monkeypatch):
    """Retrying takes transformers a minute; a copy that is here is used all the same."""
    asked = []

    def unreachable(self, name, **options):
        asked.append(name)
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(source_digest, "_unreached", None)
    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", unreachable)
    assert hub_revision("acme/tiny", "model") == "a" * 40
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert huggingface_hub.constants.is_offline_mode()
    with pytest.raises(
        ValueError, match="model must be a folder, or a name on the hub; got 'none'"
    ):
        hub_revision("none", "model")
    assert hub_revision("acme/other", "dataset") == ""
    assert asked == ["acme/tiny", "none", "acme/other"]


def test_a_hub_that_can_be_reached_again_is_asked_again(hub, monkeypatch):
    """A notebook need not be restarted when the network is back."""
    clock, reached = [1000.0], []

    def repo_info(self, name, **options):
        if huggingface_hub.constants.is_offline_mode():
            raise huggingface_hub.errors.OfflineModeIsEnabled
        if not reached:
            raise ConnectionError("no route to host")
        return SimpleNamespace(sha="c" * 40)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(source_digest, "_unreached", None)
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", repo_info)
    assert hub_revision("acme/tiny", "model") == "a" * 40
    reached.append(True)
    clock[0] += source_digest.PAUSE - 1
    assert hub_revision("acme/tiny", "model") == "a" * 40
    clock[0] += 1
    assert hub_revision("acme/tiny", "model") == "c" * 40
    assert os.environ["HF_HUB_OFFLINE"] == "0"
    assert not sys.modules["datasets"].config.HF_HUB_OFFLINE


def test_another_revision_is_another_digest(hub):
    before = digest_of(None, "acme/tiny", "acme/texts")
    assert before == digest_of(None, "acme/tiny", "acme/texts")
    hub("models--acme--tiny", "c" * 40)
    other_model = digest_of(None, "acme/tiny", "acme/texts")
    hub("datasets--acme--texts", "d" * 40)
    other_data = digest_of(None, "acme/tiny", "acme/texts")
    assert len({before, other_model, other_data}) == 3


def test_other_contents_are_another_digest(tmp_path):
    model, data = tmp_path / "model", tmp_path / "data.csv"
    (model / "below").mkdir(parents=True)
    (model / "below/weights.safetensors").write_bytes(b"1")
    data.write_text("text,label\n")
    found = {digest_of(str(data), str(model))}
    (model / "below/weights.safetensors").write_bytes(b"2")
    found.add(digest_of(str(data), str(model)))
    data.write_text("text,label\na,b\n")
    found.add(digest_of(str(data), str(model)))
    for content in ("text,label\nc,d\n", "text,label\ne,f\n"):
        (tmp_path / "held_out.csv").write_text(content)
        found.add(digest_of(str(data), str(model), held_out=str(tmp_path / "held_out.csv")))
    assert len(found) == 5


def test_a_folder_that_holds_too_much_is_refused(tmp_path, monkeypatch):
    for number in range(4):
        (tmp_path / f"{number}.txt").write_text("x")
    digest_of(None, str(tmp_path))
    monkeypatch.setattr(source_digest, "MOST_FILES", 3)
    with pytest.raises(ValueError, match="data must be a folder of data"):
        digest_of(None, str(tmp_path))
