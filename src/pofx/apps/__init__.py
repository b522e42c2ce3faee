"""Uses of trained models: one file each, with its estimator; its verb is a file of the same name in `cli/verbs`."""
"""Uses of a density: one file for each, with an estimator and a verb of the command line."""
