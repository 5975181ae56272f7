"""``python -m probes.report``."""

import probes.cli.early_interrupt

# Importing takes seconds, in which Ctrl-C must not end in a traceback.
probes.cli.early_interrupt.be_brief()

from probes.cli.command_line import run  # noqa: E402
from probes.report.page import CommandLine, main  # noqa: E402

if __name__ == "__main__":
    run(CommandLine, main)
