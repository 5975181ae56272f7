"""A recipe as a user runs it, but that its commands run in this process, which has all imported."""

import contextlib
import importlib
import io
import json
import os
import socket
import subprocess
import sys
from unittest.mock import patch

#: Stands for ``python`` in the script: hands its command over and says what comes back.
PYTHON = f"""#!{sys.executable} -SE
import json, os, socket, sys
asked = socket.socket(socket.AF_UNIX)
asked.connect(os.environ["COMMANDS"])
asked.sendall(json.dumps([os.getcwd(), sys.argv[1:]]).encode())
asked.shutdown(socket.SHUT_WR)
status, said, complaint = json.load(asked.makefile())
sys.stdout.write(said)
sys.stderr.write(complaint)
sys.exit(status)
"""


def run_recipe(script, folder, environment, programs=None, run=None):
    """Run a script with its variables.

    Args:
        script: path of it.
        folder: for what stands for programs.
        environment: variables, by name.
        programs: text of further programs, by name.
        run: runs a command, given its folder and the words behind ``python -m``; returns exit
            status, standard output and standard error. By default :func:`run_module`.

    Returns:
        The finished process, and the commands that it gave: words behind ``python -m``.
    """
    place = folder / "bin"
    place.mkdir()
    for name, text in ({"python": PYTHON} | (programs or {})).items():
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    path = f"{place}:{os.environ['PATH']}"
    known = {"PATH": path, "COMMANDS": str(folder / "commands")}
    commands = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(known["COMMANDS"])
        server.listen()
        server.settimeout(0.2)
        with subprocess.Popen(
            ["bash", str(script)], env=os.environ | known | environment, cwd=folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            while process.poll() is None:
                with contextlib.suppress(TimeoutError):
                    asked, _ = server.accept()
                    with asked:
                        where, (flag, *words) = json.load(asked.makefile())
                        assert flag == "-m"
                        commands.append(words)
                        asked.sendall(json.dumps((run or run_module)(where, words)).encode())
            said, complaint = process.communicate()
    done = subprocess.CompletedProcess(str(script), process.returncode, said, complaint)
    return done, commands


def run_module(where, words):
    """Run a module's command line here; return its exit status and what it said."""
    module = importlib.import_module(words[0])
    said, complaint = io.StringIO(), io.StringIO()
    try:
        with (
            contextlib.chdir(where), patch.object(sys, "argv", words),
            contextlib.redirect_stdout(said), contextlib.redirect_stderr(complaint),
        ):  # fmt: skip
            module.main()
    except SystemExit as stop:
        return stop.code or 0, said.getvalue(), complaint.getvalue()
    raise AssertionError("a command line always exits")
