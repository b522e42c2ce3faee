"""Uses of trained models: one file each, with its estimator; its verb is beside it or in `cli/verbs`."""
