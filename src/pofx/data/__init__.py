"""Sources of data: one file per source or format; each yields raw typed items and a card."""
