"""Perplexities of the paper (Kapur, Mishra, Marr), by (weight bits, activation bits[, neurons])."""

from __future__ import annotations

BITS = (32, 16, 8, 4, 2)
NEURONS = (300, 450, 1000)

_ROWS_1 = {
    32: (108.7, 108.8, 108.3, 109.2, 111.4),
    16: (112.6, 112.7, 112.4, 113.3, 114.8),
    8: (113.3, 112.8, 112.4, 112.1, 115.1),
    4: (114.3, 114.5, 114.8, 115.2, 116.7),
    2: (141.1, 138.6, 139.1, 138.5, 152.2),
}
TABLE_1 = {
    (weights, activations): value
    for weights, row in _ROWS_1.items()
    for activations, value in zip(BITS, row, strict=True)
}

_ROWS_2 = {
    (4, 4): (115.2, 108.8, 108.4),
    (4, 2): (116.7, 111.7, 113.1),
    (2, 4): (138.5, 130.6, 128.4),
    (2, 2): (152.2, 148.2, 148.0),
}
TABLE_2 = {
    (*bits, neurons): value
    for bits, row in _ROWS_2.items()
    for neurons, value in zip(NEURONS, row, strict=True)
}
BY_NEURONS = {(*bits, NEURONS[0]): value for bits, value in TABLE_1.items()} | TABLE_2
