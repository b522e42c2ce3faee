"""One file per verb: a function with the name of its file, beside the texts GROUP and EXAMPLE (see `pofx.cli.scan`)."""
