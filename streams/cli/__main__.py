"""``python -m streams.cli``: the command without its entry point."""

from streams.cli import main

main()
