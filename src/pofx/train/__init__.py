"""Training: the one loop, its options, averages, checkpoints and progress. It imports no family."""
