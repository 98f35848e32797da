"""A keyword spotter: a 2-layer GRU, words of several lengths, class weights, loading by workers."""

from multiprocessing import get_context

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader

import autoquant as aq


class Spotter(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(12, 32, num_layers=2, batch_first=True)
        self.head = nn.Linear(32, 4)

    def forward(self, frames, lengths):  # [B, T, 12], [B] -> [B, 4]
        packed = pack_padded_sequence(frames, lengths.cpu(), True, enforce_sorted=False)
        return self.head(self.rnn(packed)[1][-1])


def words(count):  # a word is a tone, in one of four places
    kinds = [i % 4 for i in range(count)]
    lengths = torch.randint(10, 25, (count,)).tolist()
    return [(torch.randn(n, 12) + torch.eye(12)[3 * k], k) for n, k in zip(lengths, kinds)]


def collate(samples):
    frames, kinds = zip(*samples)
    return pad_sequence(frames, True), torch.tensor([*map(len, frames)]), torch.tensor(kinds)


def predict(artifact):
    return aq.load(artifact, Spotter())(torch.randn(1, 20, 12), torch.tensor([20])).argmax().item()


if __name__ == "__main__":
    torch.manual_seed(0)
    options = {"batch_size": 32, "collate_fn": collate}
    train = DataLoader(words(1200), shuffle=True, num_workers=2, **options)
    valid, test = (DataLoader(words(200), **options) for _ in range(2))
    loss = nn.CrossEntropyLoss(weight=torch.tensor([2.0, 1.0, 1.0, 1.0]))
    task = aq.SupervisedTask(Spotter, train, valid, test, loss=loss)
    short = aq.Training(steps=30)
    settings = aq.Search("0.15x", trials=3, baseline=aq.Training(epochs=2), qat=short)
    print(aq.search(task, settings, study="runs/spotter"))
    applied = aq.apply("runs/spotter", task)
    print(applied, "heard:", get_context("spawn").Pool(1).map(predict, [applied.artifact]))
