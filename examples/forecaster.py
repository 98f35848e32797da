"""A forecaster: an encoder and a decoder that reads its own output, scored by its mean error."""

from multiprocessing import get_context

import torch
from torch import nn
from torch.nn import functional as F

import autoquant as aq


class Forecaster(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.LSTM(1, 32, batch_first=True)
        self.decoder = nn.LSTMCell(1, 32)
        self.head = nn.Linear(32, 1)

    def forward(self, past):  # [B, 20, 1] -> [B, 4, 1]
        _, (h, c) = self.encoder(past)
        state, value, values = (h[0], c[0]), past[:, -1], []
        for _ in range(4):
            state = self.decoder(value, state)
            value = self.head(state[0])
            values.append(value)
        return torch.stack(values, 1)


def waves(count):
    phase, speed = 6 * torch.rand(count, 1), 0.1 + 0.4 * torch.rand(count, 1)
    wave = torch.sin(phase + speed * torch.arange(24))[..., None]
    return wave[:, :20], wave[:, 20:]


def predict(artifact):
    return aq.load(artifact, Forecaster())(waves(1)[0]).flatten().tolist()


if __name__ == "__main__":
    torch.manual_seed(0)
    task = aq.SupervisedTask(
        Forecaster, waves(1000), waves(200), waves(200), loss=F.l1_loss, score="loss"
    )
    short = aq.Training(steps=30)
    settings = aq.Search("0.2x", trials=3, baseline=aq.Training(epochs=6), qat=short)
    print(aq.search(task, settings, study="runs/forecaster"))
    applied = aq.apply("runs/forecaster", task, changes={"distill": 0.5})
    print(applied, "next:", get_context("spawn").Pool(1).map(predict, [applied.artifact]))
