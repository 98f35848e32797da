"""A plan, trained in full and packed: the job, and the record of its result."""
