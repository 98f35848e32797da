"""Which plans are trained next: proposals of a search and the plans of a sweep."""
