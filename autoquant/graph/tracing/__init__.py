"""Which layers' widths depend on each other, found by recording one run of a model.

``record`` lists the operations of one forward pass, ``propagate`` takes the units of layers through
them, ``layouts`` derives groups of layers. ``operations`` holds a function for each operation; one
that is missing is added by registering a function with ``@operation``.
"""
