"""The settings of ``measure`` are known to an editor: what is written there is what may be set."""

import pytest

from tests.signatures import FILE, written


def test_what_an_editor_completes_is_what_may_be_set():
    assert FILE.read_text(encoding="utf-8") == written(), "python -m tests.signatures"


def test_an_editor_completes_settings_and_what_the_result_has():
    """Jedi reads the source alone, as editors do; it imports nothing."""
    jedi = pytest.importorskip("jedi")
    project = jedi.Project(FILE.parents[2])
    lines = "from probes.stability import measure\nmeasure(ens\nmeasure().ans"
    script = jedi.Script(lines, project=project)
    assert [one.name for one in script.complete(2, 11)] == ["ensemble="]
    assert [one.name for one in script.complete(3, 13)] == ["answer"]
