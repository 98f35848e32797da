"""Batches and outputs that are dictionaries, as in the libraries of Hugging Face."""

from multiprocessing import get_context

import torch
from torch import nn
from torch.utils.data import DataLoader

import autoquant as aq


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(500, 32)
        self.layer = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.1, batch_first=True)
        self.head = nn.Linear(32, 3)

    def forward(self, input_ids, attention_mask):  # [B, 12], [B, 12]
        hidden = self.layer(self.embedding(input_ids), src_key_padding_mask=attention_mask == 0)
        return {"logits": self.head(hidden[:, 0]), "hidden": hidden}


def sentences(count):  # the class is in the first word
    for _ in range(count):
        ids, length = torch.randint(500, (12,)), int(torch.randint(4, 12, ()))
        mask = (torch.arange(12) < length).long()
        yield {"input_ids": ids * mask, "attention_mask": mask, "labels": ids[0] % 3}


def predict(artifact):
    words = next(sentences(1))
    inputs = {name: words[name][None] for name in ("input_ids", "attention_mask")}
    return aq.load(artifact, Classifier())(**inputs)["logits"].argmax().item()


if __name__ == "__main__":
    torch.manual_seed(0)
    train, valid, test = (DataLoader([*sentences(n)], 64, n > 600) for n in (2000, 300, 300))
    task = aq.SupervisedTask(Classifier, train, valid, test, output="logits")
    short = aq.Training(steps=30)
    settings = aq.Search("0.2x", trials=3, baseline=aq.Training(epochs=4), qat=short)
    print(aq.search(task, settings, study="runs/sentences"))
    applied = aq.apply("runs/sentences", task)
    print(applied, "class:", get_context("spawn").Pool(1).map(predict, [applied.artifact]))
