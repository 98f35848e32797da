"""A network that was trained elsewhere: its checkpoint is searched, and not trained again."""

from multiprocessing import get_context

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import autoquant as aq


def network():
    first = [nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(16, 2))


def images(count):  # horizontal or vertical stripes, in noise
    kinds, stripes = torch.arange(count) % 2, torch.arange(12.0).sin()
    pictures = torch.where(kinds[:, None, None] == 0, stripes[:, None], stripes)
    return TensorDataset((pictures + torch.randn(count, 12, 12))[:, None], kinds)


def predict(artifact):
    return aq.load(artifact, network())(images(6)[:][0]).argmax(1).tolist()


if __name__ == "__main__":
    torch.manual_seed(0)
    train, valid, test = (DataLoader(images(n), 64, n > 600) for n in (1500, 300, 300))
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for inputs, targets in train:
        optimizer.zero_grad()
        F.cross_entropy(net(inputs), targets).backward()
        optimizer.step()
    torch.save({"state_dict": net.state_dict()}, "fine_tuned.pt")
    task = aq.SupervisedTask(network, train, valid, test)
    settings = aq.Search("0.35x", trials=3, qat=aq.Training(steps=30), pretrained="fine_tuned.pt")
    print(aq.search(task, settings, study="runs/fine_tuned"))
    applied = aq.apply("runs/fine_tuned", task)
    print(applied, "kinds:", get_context("spawn").Pool(1).map(predict, [applied.artifact]))
