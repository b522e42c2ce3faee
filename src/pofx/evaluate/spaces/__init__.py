"""Feature spaces, one file each; they are found by scanning this folder."""
