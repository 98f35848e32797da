"""Exports of five models, scored in their targets."""
