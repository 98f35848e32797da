"""What a user calls: search, sweep, solve, apply, evaluate, transcribe, report."""
