"""Pure functions of tensors: distributions, transforms, paths, solvers, estimators. They know no model."""
