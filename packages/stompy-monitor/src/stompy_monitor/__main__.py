"""`python -m stompy_monitor` is `stompy-monitor`."""

from stompy_monitor.cli import main

main(prog_name="python -m stompy_monitor")
