"""Which layers' widths hang together, found by watching a model run once."""
