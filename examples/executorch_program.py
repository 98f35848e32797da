"""A packed model as a program of ExecuTorch (.pte), run by its Python runtime.

ExecuTorch has no operators of autoquant. What is exported is ``aq.dequantized``: torch's layers
with the values that the weights' codes stand for, in float32, for XNNPACK's kernels. Two things are
lost: a weight takes 32 bits here, and activations are not rounded, so outputs differ a little from
the packed model's. The last line has the largest differences of outputs, from the dequantized model
and from the packed one, and the bytes of the program and of the packed file.
"""

from multiprocessing import get_context
from pathlib import Path

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime
from torch import nn
from torch.utils.data import DataLoader

import autoquant as aq


def model():  # images [B, 1, 8, 8] -> [B, 4]
    layers = nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU()
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 4))


def images(count):  # one quarter of an image is brighter
    kinds, values = torch.arange(count) % 4, torch.randn(count, 1, 2, 4, 2, 4)
    values[torch.arange(count), 0, kinds // 2, :, kinds % 2] += 0.5
    return [*zip(values.reshape(count, 1, 8, 8), kinds.tolist())]


def compare(artifact):
    packed, image, path = aq.load(artifact, model()), torch.randn(1, 1, 8, 8), Path(artifact)
    plain, target = aq.dequantized(packed), path.with_suffix(".pte")
    program = torch.export.export(plain, (image,))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    target.write_bytes(lowered.to_executorch().buffer)
    (outputs,) = Runtime.get().load_program(target).load_method("forward").execute((image,))
    largest = [(outputs - each(image)).abs().max().item() for each in (plain, packed)]
    return [*largest, target.stat().st_size, path.stat().st_size]


if __name__ == "__main__":
    torch.manual_seed(0)
    loaders = (DataLoader(images(n), batch_size=32, shuffle=n > 500) for n in (1200, 200, 200))
    task = aq.SupervisedTask(model, *loaders, loss=nn.CrossEntropyLoss())
    settings = aq.Search("0.15x", trials=2, qat=aq.Training(steps=30))
    print(aq.search(task, settings, study="runs/images"))
    applied = aq.apply("runs/images", task)
    print(applied, "compared:", get_context("spawn").Pool(1).map(compare, [applied.artifact]))
