"""`python -m medlocker` is the `medlocker` command."""

from medlocker.cli import main

main(prog_name="medlocker")
