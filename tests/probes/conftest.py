"""Tiny models of every kind of task, on disk."""

import pytest

from tests.probes.finetuning.corpora import save_model


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {kind: save_model(kind, folder / kind) for kind in ("classifier", "reader", "writer")}
