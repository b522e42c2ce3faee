"""Networks whose output for a position depends on earlier positions only, and their caches."""
