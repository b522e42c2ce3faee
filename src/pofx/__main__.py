"""`python -m pofx`."""

from pofx.cli.main import main

main()
