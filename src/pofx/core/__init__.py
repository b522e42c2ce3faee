"""The contract: events, models, representations, randomness, configuration, errors. They name no family."""
