"""The recorded benchmark: tables of trained plans, from which strategies of a search choose."""
