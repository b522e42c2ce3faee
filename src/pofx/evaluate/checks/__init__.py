"""What a trained model is examined for: one file per theme, each with its `CHECKS`."""
