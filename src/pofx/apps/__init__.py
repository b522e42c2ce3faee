"""Uses of trained models: one file each, with its estimator and, there or in `cli/verbs`, its verb."""
