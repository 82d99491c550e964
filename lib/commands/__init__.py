"""Command-line programs beside the workflow, each started with `python -m lib.commands.NAME`."""
