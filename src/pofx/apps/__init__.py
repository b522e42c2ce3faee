"""Uses of trained models: one file each, with its estimator; its verb is a file of the same name in `cli/verbs`."""
