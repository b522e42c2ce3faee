"""Networks on feature maps of any height and width."""
