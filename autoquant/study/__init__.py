"""A study folder: its files, trials, outcomes and the table of a sweep."""
