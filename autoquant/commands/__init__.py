"""What a user calls: search, sweep, apply, evaluate, report."""
