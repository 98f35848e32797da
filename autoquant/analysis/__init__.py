"""What is known of a model before a trial: its profile and its sensitivity to few bits."""
