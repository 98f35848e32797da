"""Small corpora, models and tasks that several tests share. Seeded; a forward pass takes ms."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Any

import cloudpickle
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from autoquant.artifact import manifest
from autoquant.costs import Cost
from autoquant.costs.limit import Limit, LimitSet
from autoquant.costs.size import size
from autoquant.graph.describe import describe
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme
from autoquant.task import Direction, Example, Split
from autoquant.tasks.corpus import Corpus, encode
from autoquant.tasks.language import LanguageTask
from autoquant.tasks.language_model import LanguageModel

SMALLEST = 2.0**-126  # the smallest float32 whose half is a denormal


def half_of_the_smallest() -> float:
    """A denormal, or 0.0 where they are flushed."""
    return float(torch.tensor(SMALLEST) * 0.5)


def corpus(words: int = 20, tokens: int = 1500, seed: int = 0) -> Corpus:
    """Text that a model can learn: nearly always a word is followed by one of three others.

    Args:
        words: of the vocabulary.
        tokens: of the train split; the others have a quarter of that.
        seed: of the text.
    """
    source = random.Random(seed)
    followers = [[source.randrange(words) for _ in range(3)] for _ in range(words)]

    def text(count: int) -> list[str]:
        word, written = 0, []
        for _ in range(count):
            written.append(f"w{word:02d}")
            word = source.choice(followers[word]) if source.random() < 0.9 else word + 1
            word %= words
        return written

    splits = {"train": text(tokens), "valid": text(tokens // 4), "test": text(tokens // 4)}
    return encode("toy", splits, None)


def language_task(words: int = 20, tokens: int = 1500, **options: Any) -> LanguageTask:
    """A LanguageTask that trains about a second an epoch.

    Args:
        words: of the vocabulary.
        tokens: of the train split.
        **options: of LanguageTask.
    """
    settings: dict[str, Any] = {"batch_size": 8, "length": 10, "probe_tokens": 150}
    settings |= {"embedding": 8, "hidden": 12, "dropout": 0.0}
    return LanguageTask(corpus(words, tokens), **(settings | options))


def language_model(
    vocabulary: int = 15,
    embedding: int = 6,
    hidden: int = 8,
    layers: int = 2,
    cell: Any = "lstm",
    seed: int = 0,
) -> LanguageModel:
    """A small LanguageModel without dropout; ``seed`` is of its weights."""
    torch.manual_seed(seed)
    return LanguageModel(vocabulary, embedding, hidden, layers, 0.0, cell)


class DeepSpeech(nn.Module):
    """FC-FC-FC-biLSTM-FC-FC with clipped ReLUs, as in Mozilla's DeepSpeech v0.1.1."""

    def __init__(
        self, features: int = 10, hidden: int = 8, wide: int = 16, outputs: int = 5, clip: int = 20
    ) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, wide)
        self.rnn = nn.LSTM(wide, hidden, bidirectional=True)
        self.fc5 = nn.Linear(2 * hidden, hidden)
        self.fc6 = nn.Linear(hidden, outputs)
        self.clip = nn.Hardtanh(0.0, float(clip))
        self.dropout = nn.Dropout(0.1)

    def forward(self, frames: Tensor) -> Tensor:  # [T, B, features] -> [T, B, outputs]
        values = self.dropout(self.clip(self.fc1(frames)))
        values = self.dropout(torch.clamp(self.fc2(values), 0.0, 20.0))
        values = self.clip(self.fc3(values))
        values, _ = self.rnn(values)
        return self.fc6(self.clip(self.fc5(values)))


def deep_speech(seed: int = 0, **sizes: int) -> DeepSpeech:
    torch.manual_seed(seed)
    return DeepSpeech(**sizes)


class Stack(nn.Module):
    """Recurrent layers of any cell between two linear layers; takes an initial state too.

    Args:
        cell: "LSTM", "GRU" or "RNN".
        layers: recurrent ones.
        bidirectional: whether they have two directions.
        hidden: their units.
        bias: whether all layers have biases.
        batch_first: whether inputs are [B, T, 5] instead of [T, B, 5].
        projection: units that an LSTM's hidden state is projected to; 0: none.
    """

    def __init__(
        self,
        cell: str = "LSTM",
        layers: int = 1,
        *,
        bidirectional: bool = False,
        hidden: int = 6,
        bias: bool = True,
        batch_first: bool = False,
        projection: int = 0,
    ) -> None:
        super().__init__()
        self.front = nn.Linear(5, 4, bias=bias)
        self.rnn = getattr(nn, cell)(
            4,
            hidden,
            layers,
            bidirectional=bidirectional,
            bias=bias,
            batch_first=batch_first,
            **({"proj_size": projection} if projection else {}),
        )
        units = projection or hidden
        self.back = nn.Linear(units * (2 if bidirectional else 1), 3, bias=bias)

    def forward(self, values: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        values, state = self.rnn(torch.tanh(self.front(values)), state)
        return self.back(values), state


def stack(seed: int = 0, **options: Any) -> Stack:
    torch.manual_seed(seed)
    return Stack(**options)


def stack_state(model: Stack, batch: int, seed: int = 0) -> Any:
    """A random initial state as a user's code makes it for the unwidened model.

    Args:
        model: whose state it is.
        batch: sequences.
        seed: of the values.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = model.rnn.num_layers * (2 if model.rnn.bidirectional else 1)
    widths = model.rnn.proj_size or model.rnn.hidden_size, model.rnn.hidden_size
    parts = [torch.randn(rows, batch, width, generator=generator) for width in widths]
    return tuple(parts) if isinstance(model.rnn, nn.LSTM) else parts[0]


class Tagger(nn.Module):
    """Tags the words of sentences of several lengths, packed; word 0 is padding at their ends.

    Args:
        words: of the vocabulary.
        hidden: units of the LSTM.
        packs_first: whether the words are packed, instead of their vectors.
        **options: of nn.LSTM.
    """

    def __init__(
        self, words: int = 15, hidden: int = 6, *, packs_first: bool = False, **options: Any
    ) -> None:
        super().__init__()
        self.packs_first = packs_first
        self.embedding = nn.Embedding(words, 4)
        self.dropout = nn.Dropout(0.25)
        self.rnn = nn.LSTM(4, hidden, **options)
        units = self.rnn.proj_size or hidden
        self.tag = nn.Linear(units * (2 if self.rnn.bidirectional else 1), 3)

    def forward(self, words: Tensor) -> Tensor:  # [T, B] -> [T, B, 3]
        lengths = (words != 0).sum(0).cpu()
        if self.packs_first:
            packed = pack_padded_sequence(words, lengths, enforce_sorted=False)
            vectors = self.dropout(self.embedding(packed.data))
            outputs, _ = self.rnn(PackedSequence(vectors, *packed[1:]))
        else:
            vectors = self.dropout(self.embedding(words))
            outputs, _ = self.rnn(pack_padded_sequence(vectors, lengths, enforce_sorted=False))
        padded, _ = pad_packed_sequence(outputs, total_length=words.shape[0])
        return self.tag(padded)


def tagger(seed: int = 0, **options: Any) -> Tagger:
    torch.manual_seed(seed)
    return Tagger(**options)


def sentences(lengths: Sequence[int] = (4, 7, 1, 5), words: int = 15, seed: int = 0) -> Tensor:
    """Random words [T, B], with zeros after the end of each sentence.

    Args:
        lengths: of the sentences.
        words: of the vocabulary.
        seed: of the words.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(1, words, (length,), generator=generator) for length in lengths]
    return nn.utils.rnn.pad_sequence(rows)


class RegressionTask:
    """Any model whose (first) output is a tensor, on fixed random inputs and targets."""

    name = "regression"
    metric = "mse"
    direction: Direction = "minimize"

    def __init__(self, model: nn.Module, inputs: Tensor) -> None:
        self._model = model
        self._inputs = inputs
        with torch.no_grad():
            self._targets = torch.tanh(torch.randn_like(_first(model(inputs))))

    def build_model(self) -> nn.Module:
        return self._model

    def steps_per_epoch(self) -> int:
        return 4

    def batches(self, seed: int, start: int = 0) -> Iterator[Tensor]:
        while True:
            yield self._inputs

    def loss(self, model: nn.Module, batch: Tensor, carry: Any) -> tuple[Tensor, Any]:
        return F.mse_loss(_first(model(batch)), self._targets), None

    def score(self, model: nn.Module, split: Split) -> float:
        return float(self.loss(model, self._inputs, None)[0])

    def example(self) -> Example:
        return Example((self._inputs,), self._inputs.shape[0] * self._inputs.shape[1], "frame")


def _first(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


def example_of(model: nn.Module) -> tuple[Any, ...]:
    """Inputs for one forward pass of a toy, or of a sequence that begins with a known layer."""
    generator = torch.Generator().manual_seed(1)
    if isinstance(model, Tagger):
        return (sentences(),)
    sizes = ("num_embeddings", "in_features", "input_size")
    first = next(m for m in model.modules() if any(hasattr(m, size) for size in sizes))
    size = next(getattr(first, name) for name in sizes if hasattr(first, name))
    if isinstance(first, nn.Embedding):
        values = torch.randint(0, size, (5, 3), generator=generator)
    else:
        values = torch.randn(*getattr(model, "lead", (5, 3)), size, generator=generator)
    return (values.to(next(model.parameters()).device),)


def prepared(model: nn.Module, *inputs: Any) -> tuple[nn.Module, Network]:
    """A model ready to grow, in eval mode, and its network."""
    ready = prepare(model).eval()
    return ready, described(ready, *inputs)


def prepared_once(model: nn.Module, *inputs: Any) -> tuple[nn.Module, Network]:
    """As ``prepared``; a model that is equal in every byte is not described again."""
    ready = prepare(model).eval()
    key = sha256(_Values.of((ready, inputs))).digest()
    if key not in _NETWORKS:
        _NETWORKS[key] = described(ready, *inputs)
    return ready, _NETWORKS[key]


_NETWORKS: dict[bytes, Network] = {}


class _Values(cloudpickle.Pickler):
    """Writes values and code; of a tensor its numbers, and which other places hold it too."""

    @classmethod
    def of(cls, value: Any) -> bytes:
        file = io.BytesIO()
        cls(file).dump(value)
        return file.getvalue()

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return None
        tensors = self.__dict__.setdefault("tensors", {})
        place = tensors.setdefault(id(value), len(tensors))
        numbers = value.detach().double().contiguous().numpy().tobytes()
        return place, str(value.dtype), tuple(value.shape), value.requires_grad, numbers


def described(model: nn.Module, *inputs: Any) -> Network:
    """The network of a prepared model."""
    return describe(model, inputs or example_of(model))


def plan_of(network: Network, choice: LayerChoice | None = None, **widths: float) -> Plan:
    """A plan with one choice for every layer.

    Args:
        network: of the model.
        choice: bits and width; float by default.
        **widths: by layer name, with ``__`` for the dot.
    """
    plan = Plan.uniform(network.names, choice or LayerChoice())
    for name, width in widths.items():
        plan = plan.with_choice(name.replace("__", "."), width=width)
    return plan


@torch.no_grad()
def output_of(model: nn.Module, *inputs: Any) -> Tensor:
    """The (first) output in eval mode."""
    return _first(model.eval()(*inputs))


SIZED = size.fields
"""Fields of a choice that the packed size grows with."""


def limit(size_of: Callable[[Plan], float], value: float, network: Any = None) -> LimitSet:
    """A limit on a cost that a test invents.

    Args:
        size_of: the cost of a plan.
        value: largest accepted one.
        network: of the plans.
    """
    made_up = Cost("made up", "bytes", SIZED, lambda network, plan, scheme: size_of(plan))
    return LimitSet((Limit(made_up, value, network, Scheme()),))


def readers(network: Network, layer: str) -> tuple[str, ...]:
    """Layers that read the units of a layer's group."""
    group = network.groups[layer]
    return tuple(
        name
        for name in network.names
        if any(segment.group == group for segment in network.inputs[name])
    )


def layer_bytes(network: Network, plan: Plan, scheme: Scheme) -> dict[str, int]:
    """Bytes of each layer's tensors in the packed file of a plan, without the header.

    Args:
        network: before widening.
        plan: bits and widths.
        scheme: how numbers become codes.
    """
    resized = network.resized(plan)
    others = {each.name for each in resized.unquantized}
    others |= {each.name for norm in resized.norms for each in manifest.norm_entries(norm, scheme)}
    total = dict.fromkeys(network.names, 0)
    for entry in manifest.entries(resized, plan, scheme):
        if entry.name not in others:
            parameter = entry.name.removesuffix(".codes").removesuffix(".scale")
            total[parameter.rpartition(".")[0]] += entry.bytes
    return total


def treebank(hidden: int = 300) -> Network:
    """The network of the paper's language model, without memory for its weights."""
    with torch.device("meta"):
        return described(prepare(LanguageModel(10_000, 300, hidden)))
