"""The kinds of data: one file per data type, found by scanning this folder (see `pofx.data.kind`)."""
