"""Executors: where jobs run, in this process or in other ones, and the loop that runs a batch.

An executor is anything with ``submit`` and ``shutdown`` of ``concurrent.futures.Executor`` that
returns its futures. Four attributes are optional:

- ``shares_memory = True``: jobs run in this process, so that their context is not pickled.
- ``put(content)``: keeps bytes in the engine's object store and returns a handle. The handle is a
  direct argument of ``submit``, and in the worker's function it is an object with a buffer (bytes,
  a memoryview or an array). Without it a worker reads a file, whose folder it must see.
- ``kill_workers()``: ends running jobs at once, as the executors of Python 3.14 do.
- ``workers``: how many jobs can run at once now.

A future with a BrokenExecutor says that the worker died. What a worker gets (``worker.py``) begins
with plain values, so that one with other versions is refused before anything is unpickled.
"""
