"""What a measurement does to an item: one file per kind."""
