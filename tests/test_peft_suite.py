"""The comparison of two runs of PEFT's tests says in a line what it cannot read."""

import subprocess
import sys

import pytest

#: In a process of its own: the plugin puts its configs in the place of PEFT's.
CODE = "import sys; from benchmarks.peft_suite import main; main(sys.argv[1:])"
REPORT = '<testsuite><testcase classname="a" name="{}"/></testsuite>'

pytestmark = pytest.mark.slow


def run(*words):
    return subprocess.run([sys.executable, "-c", CODE, *map(str, words)], capture_output=True,
                          text=True, check=False)  # fmt: skip


@pytest.mark.parametrize("words", [(), ("no_such.xml", "no_such.xml"), (__file__, __file__)])
def test_what_cannot_be_read_is_said_in_a_line(words):
    done = run(*words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")


def test_tests_that_came_out_otherwise_are_named(tmp_path):
    files = [tmp_path / f"{name}.xml" for name in "xy"]
    for file in files:
        file.write_text(REPORT.format(file.stem))
    done = run(*files)
    assert done.returncode == 0
    assert "  a::x: passed, with ours not there" in done.stdout
