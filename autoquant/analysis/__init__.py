"""What is known of a model before a trial: its layers, their profile and their sensitivity."""
