"""Families of models: what of them is known and can grow, and what looking at them costs."""
