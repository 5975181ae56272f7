"""The comparison of two runs of PEFT's tests says in a line what it cannot read."""

import json
import subprocess
import sys

import pytest

#: In a process of its own: the plugin puts its configs in the place of PEFT's. It imports once.
CODE = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from benchmarks.peft_suite import main

def run(words):
    said, complaint, status = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(said), redirect_stderr(complaint):
        try:
            main(words)
        except SystemExit as stop:
            status = stop.code
    return status, said.getvalue(), complaint.getvalue()

print(json.dumps([run(words) for words in json.loads(sys.argv[1])]))
"""
REPORT = '<testsuite><testcase classname="a" name="{}"/></testsuite>'
#: Words of which it can make nothing.
UNREADABLE = [[], ["no_such.xml", "no_such.xml"], [__file__, __file__]]

pytestmark = pytest.mark.slow


def test_what_cannot_be_read_is_said_in_a_line_and_other_outcomes_are_named(tmp_path):
    files = [tmp_path / f"{name}.xml" for name in "xy"]
    for file in files:
        file.write_text(REPORT.format(file.stem))
    asked = json.dumps([*UNREADABLE, [str(file) for file in files]])
    done = subprocess.run([sys.executable, "-c", CODE, asked], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *refused, compared = json.loads(done.stdout.splitlines()[-1])
    assert len(refused) == len(UNREADABLE)
    for status, _, complaint in refused:
        assert status == 2
        assert complaint.splitlines()[-1].startswith("error: ")
    assert compared[0] == 0
    assert "  a::x: passed, with ours not there" in compared[1]
