"""Executors: where jobs run, in this process or in local ones, and the loop that runs a batch.

An executor is anything with ``submit`` and ``shutdown`` of ``concurrent.futures.Executor`` that
returns its futures. Two attributes are optional. ``shares_memory = True``: jobs run in this
process, so that their context is not written to a file. ``kill_workers()``: ends running jobs at
once, as the executors of Python 3.14 do.
"""
