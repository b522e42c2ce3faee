"""The checker of the import hook: a whole number is a float (PEP 484), as mypy reads it."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
