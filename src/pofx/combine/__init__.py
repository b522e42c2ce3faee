"""Models and objectives made of trained runs: distilled, guided, ensembled."""
