"""The page of a study: one HTML file with its tables and charts, which needs nothing beside it."""
