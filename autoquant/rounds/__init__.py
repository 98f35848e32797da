"""Rounds of a search: which plans are trained on which rung, and with how many data orders."""
