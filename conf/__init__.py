"""Hydra configuration files of autoquant, shipped as the package `autoquant.conf`."""
