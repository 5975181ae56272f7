"""What does the whole study say? Tables, figures and verdicts on one page, each with its command.

python -m probes.report --out report/
python -m probes.report --out report/ --sections matched calibration --draws 16
"""

from typing import NoReturn

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.cli.early_interrupt

    probes.cli.early_interrupt.be_brief()

import time

from probes.cli.command_line import before_the_answer, check_no_words, run_command_line
from probes.jobs.sweep import InterruptedSweepError
from probes.report.page import write_report
from probes.report.sections import ReportSettings


def main() -> NoReturn:
    """Write the report from the command line."""
    run_command_line(ReportSettings, _answer, program="probes.report")


def _answer(settings: ReportSettings, words: list[str]) -> int:
    check_no_words(ReportSettings, words)
    start = time.perf_counter()
    try:
        with before_the_answer():
            page = write_report(settings)
    except InterruptedSweepError:
        raise KeyboardInterrupt from None
    print(f"{page} ({time.perf_counter() - start:.0f} s)")
    return 0


if __name__ == "__main__":
    main()
