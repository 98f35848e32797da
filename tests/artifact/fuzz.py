"""Forged packed files: valid ones altered at random, their checksums computed again.

A file must be refused by a UserError, or give a model with outputs of the right shapes, equal in
every run, and finite unless the file holds huge or no numbers. Every file follows from a seed and
its number. ``python -m tests.artifact.fuzz --files 1000000 --seed 0`` tries many; a child process
tries them, so that a crash is reported with the file's number, and the rest is tried all the same.
"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
import random
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import cycle
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autoquant.artifact import header, manifest, packed_file
from autoquant.errors import UserError
from autoquant.graph.describe import describe
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from autoquant.plan import ACTIVATION_BITS, WEIGHT_BITS, LayerChoice, Plan
from autoquant.settings import Scheme
from autoquant.training.qat import build_candidate
from tests.artifact import version2_files
from tests.toys import RegressionTask

WORDS, CHUNK = 7, 2000
SCHEMES = {
    "default": Scheme(),
    "half norms": Scheme(norms="half"),
    "scales of 8 bits": Scheme(scale_bits=8, bias_bits=8),
    "float32 scales": Scheme(granularity="tensor", scale_bits=32, bias_bits=32),
    "bit-rnn": Scheme.bit_rnn(),
}
CHOICES = {
    "4 bits": LayerChoice(4, 8),
    "ternary": LayerChoice(1.6, 4, recurrent_bits=3),
    "floats": LayerChoice(32, 32),
    "halves": LayerChoice(16, 16, hidden_bits=8),
}
WIDTHS = (1.0, 1.5)
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2, 3, 2**31, 2**63, 10**40, 0.5, 1e308, "", "x", "1.5", "0:4", "0:4x2"),
    *([], {}, [1], [[1, 2]], {"a": 1}, 'é\n"', "float32", "int8", "mine", "lstm"),
)
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.25, 1e-40, 1e30, -1e30, float("nan"), float("inf"), -float("inf"))


class Model(nn.Module):
    """One layer of each kind that runs from packed codes, and one that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(WORDS, 4)
        self.rnn = nn.LSTM(4, 4, 2)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 3)
        self.gain = nn.Parameter(torch.ones(3))

    def forward(self, words: Tensor) -> Tensor:
        hidden, _ = self.rnn(self.table(words))
        return self.head(self.norm(hidden.flatten(0, 1))) * self.gain


# --- valid files ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Base:
    """A valid model in parts from which files are made.

    Attributes:
        network: before growing.
        plan: of the model.
        scheme: of the model.
        tensors: of a file of version 2; those of version 3 are among them.
    """

    network: Network
    plan: Plan
    scheme: Scheme
    tensors: dict[str, Tensor]


@cache
def build() -> Model:
    """The float model; always the same."""
    torch.manual_seed(0)
    return Model().eval()


def words() -> Tensor:
    """Inputs [T, B]."""
    return torch.arange(10).view(5, 2) % WORDS


@cache
def bases() -> tuple[Base, ...]:
    """Models with every scheme, the choices and widths by turns."""
    choices, widths = cycle(CHOICES.values()), cycle(WIDTHS)
    return tuple(
        base_of(scheme, next(choices), next(widths))
        for scheme in (*SCHEMES.values(), Scheme(), Scheme(norms="half"))
    )


@cache
def _prepared() -> tuple[nn.Module, Network]:
    model = prepare(build())
    return model, describe(model, (words(),))


def base_of(scheme: Scheme, choice: LayerChoice, width: float) -> Base:
    """A model that is quantized and calibrated, not trained.

    Args:
        scheme: of the model.
        choice: of all layers, but for the width.
        width: of the layers that can grow.
    """
    model, network = _prepared()
    plan = Plan.uniform(network.names, choice)
    for name in network.names:
        if network.why_fixed(name) is None:
            plan = plan.with_choice(name, width=width)
    task = RegressionTask(build(), words())
    fake = build_candidate(model, network, plan, scheme, task, method="split", seed=0).eval()
    tensors = version2_files.tensors_of(fake, network, plan, scheme)
    return Base(network, plan, scheme, tensors)


# --- version 3 ------------------------------------------------------------------------------------


@dataclass
class File3:
    """A file of version 3 in parts that can be altered.

    Attributes:
        base: the valid model.
        model: the JSON of the text ``model``.
        choices: of each layer: four bytes and the width.
        eps: of norms.
        tensors: by name.
        data: the bytes of tensors, once they are fixed.
        notes: what was altered.
    """

    base: Base
    model: dict[str, Any]
    choices: list[tuple[Any, ...]]
    eps: list[float]
    tensors: dict[str, Tensor]
    data: bytes | None = None
    text: bytes | None = None
    notes: list[str] = field(default_factory=list)

    def bytes(self, source: random.Random) -> bytes:
        """The file; what altered sizes leave open is random."""
        text = self.text if self.text is not None else json.dumps(self.model).encode()
        model_text = _deflated(text)
        packed = [struct.pack("<BBBBd", *choice) for choice in self.choices]
        packed += [struct.pack("<d", eps) for eps in self.eps]
        plan_text = header._printable(b"".join(packed))
        data = self._data(model_text, plan_text, source) if self.data is None else self.data
        digest = header.digest_of(
            header.compose(header.BLANK, plan_text, model_text, len(data)), data
        )
        return header.compose(digest, plan_text, model_text, len(data)) + data

    def _data(self, model_text: str, plan_text: str, source: random.Random) -> bytes:
        """Bytes of the tensors that the altered header promises."""
        try:
            content = header.decode_model(model_text)
            names = [n.name for n in manifest.norms_with_eps(content.network, content.scheme)]
            plan, _ = header.decode_plan(plan_text, content.network.names, names)
            entries = manifest.entries(content.network.resized(plan), plan, content.scheme)
            if sum(entry.bytes for entry in entries) > 1 << 20:
                raise ValueError("too large to be written")
        except (ValueError, KeyError, TypeError, ArithmeticError):
            entries = manifest.entries(
                self.base.network.resized(self.base.plan), self.base.plan, self.base.scheme
            )
            content = header.ModelText(self.base.network, self.base.scheme, {})
        parts = [_values(self.tensors.get(e.name), e, source) for e in entries]
        assets = source.randbytes(min(1000, sum(content.assets.values())))
        return b"".join([*parts, assets])


def _deflated(text: bytes) -> str:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zdict=header._DICTIONARY)
    return header._printable(deflate.compress(text) + deflate.flush())


def _values(tensor: Tensor | None, entry: manifest.Entry, source: random.Random) -> bytes:
    """The bytes of a tensor as it was, or random ones where it has another type or shape."""
    dtype = manifest.TORCH_TYPES[entry.dtype]
    if tensor is None or (tensor.dtype, tuple(tensor.shape)) != (dtype, entry.shape):
        tensor = _random_tensor(entry, source)
    return bytes(packed_file._bytes_of(tensor))


def _random_tensor(entry: manifest.Entry, source: random.Random) -> Tensor:
    """Values as a model may have them."""
    dtype = manifest.TORCH_TYPES[entry.dtype]
    generator = torch.Generator().manual_seed(source.randrange(1 << 30))
    if entry.name.endswith("quantizer"):
        return torch.tensor([-3.0, source.choice([0.0, -8.0, -128.0])])
    if entry.name.endswith(".scale") and dtype == torch.uint8:
        return torch.randint(100, 140, entry.shape, generator=generator).to(dtype)
    if dtype.is_floating_point:
        return torch.rand(entry.shape, generator=generator).add(0.05).to(dtype)
    largest = 4 if entry.name.endswith("unit_sources") else 243
    return torch.randint(0, largest, entry.shape, generator=generator).to(dtype)


def file3(base: Base) -> File3:
    """The valid file."""
    content = header.ModelText(base.network, base.scheme, {})
    values = header.model_values(content)
    grown = base.network.resized(base.plan)
    eps = [n.eps for n in manifest.norms_with_eps(grown, base.scheme) if n.eps is not None]
    choices = [
        (*map(header._as_byte, header._bits(base.plan[name])), base.plan[name].width)
        for name in base.network.names
    ]
    return File3(base, copy.deepcopy(values), choices, eps, dict(base.tensors))


# --- alterations ----------------------------------------------------------------------------------


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a tree with every key of it."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)


def alter_tree(tree: Any, source: random.Random) -> str:
    """Alter one value of JSON, in place."""
    parent, key = source.choice([*_places(tree)])
    old = parent[key]
    way = source.randrange(6)
    if way == 0 and isinstance(old, int | float) and not isinstance(old, bool):
        parent[key] = old + source.choice([-2, -1, 1, 2, 4, 8])
    elif way == 1 and isinstance(old, str) and old:
        place = source.randrange(len(old))
        parent[key] = old[:place] + source.choice("0123456789:x. oighfwrbn") + old[place + 1 :]
    elif way == 2:
        del parent[key]
    elif way == 3:
        other, place = source.choice([*_places(tree)])
        parent[key] = copy.deepcopy(other[place])
    elif way == 4 and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(old))
    else:
        parent[key] = copy.deepcopy(source.choice(VALUES))
    return f"{str(key)[:20]}: {str(old)[:40]}, way {way}"


def alter_tensor(tensors: dict[str, Tensor], source: random.Random, *, shapes: bool) -> str:
    """Alter the values of one tensor, or its type or shape."""
    name = source.choice(sorted(tensors))
    tensor = tensors[name].clone()
    way = source.randrange(5 if shapes else 3)
    if way == 3:
        tensors[name] = tensor.to(source.choice([torch.float64, torch.uint8, torch.int16]))
        return f"{name}: type"
    if way == 4:
        tensors[name] = torch.cat([tensor.reshape(-1)] * 2)[: source.randrange(9)]
        return f"{name}: shape"
    flat = tensor.reshape(-1)
    if not flat.numel():
        return f"{name}: empty"
    place = source.randrange(flat.numel())
    if way == 0 and tensor.dtype.is_floating_point:
        flat[place] = torch.tensor(source.choice(FLOATS)).to(tensor.dtype)  # inf where too large
    elif way == 1:
        flat.view(torch.uint8)[:] = torch.tensor(list(source.randbytes(flat.nbytes)))
    else:
        raw = flat.view(torch.uint8)
        raw[source.randrange(raw.numel())] = source.choice([0, 1, 127, 128, 242, 243, 255])
    tensors[name] = flat.view(tensor.shape)
    return f"{name}: values {flat[place].item()}"


def nested(source: random.Random) -> bytes:
    """JSON that a parser may not like."""
    depth = source.choice([10, 1000, 100_000])
    return source.choice(
        [
            b"[" * depth + b"]" * depth,
            b'{"a":' * depth + b"1" + b"}" * depth,
            b'{"scheme":{},"scheme":{},"assets":[],"layers":[],"tensors":[]}',
            b'{"scheme":{},"assets":[["a",NaN]],"layers":[],"tensors":[]}',
            b"9" * 10_000,
            b"\xff\xfe",
            b"",
            b"null",
        ]
    )


def _alter_model(file: File3, source: random.Random) -> str:
    return alter_tree(file.model, source)


def _alter_layout(file: File3, source: random.Random) -> str:
    """Another layout of an axis: that of another axis, or one with other sizes."""
    row, column = source.choice(file.model["layers"]), source.choice([8, 9])
    other = source.choice(file.model["layers"])[source.choice([8, 9])]
    text = f"{source.randrange(5)}:{source.randrange(9)}"
    row[column] = source.choice([other, text, f"{text}x2", f"{text}.1", "4", "12", "2 2", "0:2 2"])
    return f"layout {column} of {row[0]}: {row[column]}"


def _alter_choice(file: File3, source: random.Random) -> str:
    """Another choice of a layer, mostly one that may be."""
    number = source.randrange(len(file.choices))
    choice = list(file.choices[number])
    place = source.randrange(5)
    if place == 4:
        widths = (1.0, 1.25, 1.5, 2.0, 3.0, 16.0, 0.5, -1.0, 1e300, float("nan"), float("inf"))
        choice[4] = source.choice(widths)
    elif source.random() < 0.3:
        choice[place] = source.randrange(256)
    else:
        choice[place] = round(5 * source.choice((ACTIVATION_BITS, WEIGHT_BITS)[place % 2 == 0]))
    file.choices[number] = tuple(choice)
    return f"choice {number}: {choice}"


def _alter_widths(file: File3, source: random.Random) -> str:
    """One width for all layers or some."""
    width = source.choice([1.0, 1.25, 1.5, 2.0, 5.0])
    some = source.choice([1.0, 0.5])
    file.choices = [
        (*choice[:4], width) if source.random() < some else choice for choice in file.choices
    ]
    return f"widths {width}"


def _alter_eps(file: File3, source: random.Random) -> str:
    if source.random() < 0.2:
        file.eps = file.eps[1:] if source.random() < 0.5 else [*file.eps, 1.0]
    else:
        file.eps = [source.choice(FLOATS) for _ in file.eps]
    return f"eps {file.eps}"


def _alter_values(file: File3, source: random.Random) -> str:
    return alter_tensor(file.tensors, source, shapes=False)


def _alter_text(file: File3, source: random.Random) -> str:
    file.text = nested(source)
    return f"model text {file.text[:30]!r}"


def _alter_data(file: File3, source: random.Random) -> str:
    file.data = source.randbytes(source.choice([0, 1, 7, 64, 200]))
    return f"{len(file.data)} bytes of data"


ALTER3: dict[Callable[[File3, random.Random], str], int] = {
    _alter_model: 6,
    _alter_layout: 5,
    _alter_choice: 5,
    _alter_widths: 3,
    _alter_eps: 1,
    _alter_values: 6,
    _alter_text: 1,
    _alter_data: 1,
}


def forged3(base: Base, source: random.Random) -> tuple[bytes, str]:
    """A file of version 3, and what was altered."""
    file = file3(base)
    count = source.choice([1, 1, 1, 2, 3])
    for alter in source.choices([*ALTER3], [*ALTER3.values()], k=count):
        file.notes.append(_try(partial(alter, file, source)))
    data = file.bytes(source)
    if source.random() < 0.05:
        place = source.randrange(len(data))
        data = data[:place] + source.choice([b"", b"\0", source.randbytes(3)]) + data[place + 1 :]
        file.notes.append(f"byte {place}")
    return data, "; ".join(file.notes)


# --- version 2 ------------------------------------------------------------------------------------


def _alter_sizes(content: dict[str, Any], base: Base, source: random.Random) -> str:
    """Another size of some layers, or of all."""
    layers = base.network.layers_and_norms
    for layer in layers if source.random() < 0.2 else [source.choice(layers)]:
        old = layer.units, layer.features
        sizes = content["sizes"].get(layer.name, [*old, *old])
        sizes[source.randrange(2)] = source.choice([0, 1, 2, 3, 4, 6, 8, 12, -1, 1 << 40])
        if source.random() < 0.3:
            sizes[:2] = [old[0] + 2, old[1] + source.choice([0, 2])]
        content["sizes"][layer.name] = sizes
    return f"sizes {content['sizes']}"


def _alter_plan(content: dict[str, Any], base: Base, source: random.Random) -> str:
    name = source.choice(base.network.names)
    choice = content["plan"][name]
    key = source.choice([*choice])
    choice[key] = source.choice([1, 1.6, 2, 4, 8, 16, 32, 1.5, 2.0, *VALUES])
    return f"plan {name} {key} {str(choice[key])[:30]}"


def forged2(base: Base, source: random.Random) -> tuple[bytes, str]:
    """A file of version 2, and what was altered."""
    content = version2_files.content_of(base.network, base.plan, base.scheme)
    tensors, notes = dict(base.tensors), []
    for _ in range(source.choice([1, 1, 2, 3])):
        way = source.randrange(8)
        if way < 3:
            notes.append(_try(partial(_alter_sizes, content, base, source)))
        elif way < 5:
            notes.append(_try(partial(_alter_plan, content, base, source)))
        elif way == 5:
            notes.append(alter_tree(content, source))
        else:
            notes.append(alter_tensor(tensors, source, shapes=True))
    _refit(content, base, tensors, source)
    complete = version2_files.with_digests(content, tensors)
    if source.random() < 0.1:
        key = source.choice([*complete])
        if source.random() < 0.5:
            del complete[key]
        elif isinstance(complete[key], dict) and complete[key]:
            complete[key].pop(source.choice([*complete[key]]))
        else:
            complete[key] = source.choice(VALUES)
        if key != "digest" and source.random() < 0.8:
            rest = {name: value for name, value in complete.items() if name != "digest"}
            complete["digest"] = version2_files.version2.digest(rest)
        notes.append(f"metadata {key}")
    return version2_files.file_of(complete, tensors), "; ".join(notes)


def _try(alter: Callable[[], str]) -> str:
    try:
        return alter()
    except (KeyError, TypeError, AttributeError, IndexError):  # altered before
        return "nothing"


def _refit(
    content: dict[str, Any], base: Base, tensors: dict[str, Tensor], source: random.Random
) -> None:
    """Give the tensors the shapes that the altered metadata promise, where that is possible."""
    try:
        plan = Plan.from_dict(content["plan"])
        plan.check(base.network.names)
        sizes = {name: (a, b) for name, (a, b, _, _) in content["sizes"].items()}
        if not all(type(n) is int and 0 <= n < 1 << 20 for pair in sizes.values() for n in pair):
            return
        grown = base.network.with_sizes(sizes)
        listed = manifest.entries(grown, plan, Scheme(**content["scheme"]))
        if not 0 <= sum(entry.bytes for entry in listed) < 1 << 20:
            return
        before = manifest.entries(base.network.resized(base.plan), base.plan, base.scheme)
    except (ValueError, KeyError, TypeError, ArithmeticError, AttributeError):
        return
    old = {entry.name: entry for entry in before}
    for entry in listed:
        if entry != old.get(entry.name):
            tensors[entry.name] = _random_tensor(entry, source)
    for name in old.keys() - {entry.name for entry in listed}:
        tensors.pop(name, None)


# --- trying them ----------------------------------------------------------------------------------


def forged(seed: int, number: int) -> tuple[bytes, str]:
    """The file of a number, and what was altered."""
    source = random.Random(f"{seed}-{number}")
    base = source.choice(bases())
    make = forged3 if source.random() < 0.6 else forged2
    data, notes = make(base, source)
    return data, f"{make.__name__}: {notes}"


def outcome(path: Path) -> str:
    """What comes of a file: "refused", "equal", "huge" numbers, or what is wrong.

    Args:
        path: of the file.
    """
    try:
        first, second = (_outputs(packed_file.load(path, build())) for _ in range(2))
    except UserError as error:
        is_line = "\n" not in str(error) and len(str(error)) < 600
        return "refused" if is_line else f"wrong: {str(error)[:600]!r}"
    except Exception as error:
        return f"wrong: {type(error).__name__}: {str(error)[:200]}"
    if first[0].shape != (10, 3):
        return f"wrong: a shape of {list(first[0].shape)}"
    if not all(
        torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(first, second, strict=True)
    ):
        return "wrong: outputs differ"
    if bool(first[0].isfinite().all()):
        return "equal"
    return "wrong: outputs that are not finite" if _is_tame(path) else "huge"


@torch.no_grad()
def _outputs(model: nn.Module) -> list[Tensor]:
    return [model(words()), model(words())]


def _is_tame(path: Path) -> bool:
    """Whether all numbers of a file are finite and none is huge, nor a variance below 0."""
    _, tensors = packed_file.read(path)
    for name, tensor in tensors.items():
        if tensor.dtype.is_floating_point and not bool((tensor.double().abs() < 1e3).all()):
            return False
        if name.endswith("running_var") and not bool((tensor > 1e-6).all()):
            return False
        if name.endswith(".scale") and tensor.dtype == torch.uint8:
            return False
    return True


def run(
    seed: int, numbers: range, folder: Path, current: Synchronized[int] | None = None
) -> tuple[Counter[str], list[str]]:
    """Try files; counts of the outcomes, and a line for each one that is wrong.

    Args:
        seed: of all files.
        numbers: of the files.
        folder: where each is written.
        current: gets the number of each file before it is tried.
    """
    counts: Counter[str] = Counter()
    failures = []
    for number in numbers:
        if current is not None:
            current.value = number
        data, notes = forged(seed, number)
        path = folder / f"forged{number % 2}"
        path.write_bytes(data)
        result = outcome(path)
        counts[result.split(":")[0]] += 1
        if result.startswith("wrong"):
            failures.append(f"seed {seed}, file {number}: {result} ({notes})")
        path.unlink()
    return counts, failures


def _child(seed: int, numbers: range, current: Any, results: Any) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for start in range(numbers.start, numbers.stop, CHUNK):
            part = range(start, min(start + CHUNK, numbers.stop))
            results.put((part.stop, *run(seed, part, Path(folder), current)))


def main() -> int:
    """Try files in child processes; 1 where one was accepted wrongly or crashed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000, help="how many (default: 100000)")
    parser.add_argument("--seed", type=int, default=0, help="of all files (default: 0)")
    parser.add_argument("--first", type=int, default=0, help="number of the first (default: 0)")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    counts: Counter[str] = Counter()
    first, end, started = options.first, options.first + options.files, time.monotonic()
    while first < end:
        current, results = context.Value("q", first), context.SimpleQueue()
        numbers = range(first, end)
        child = context.Process(target=_child, args=(options.seed, numbers, current, results))
        child.start()
        while child.is_alive() or not results.empty():
            if results.empty():
                child.join(0.2)
                continue
            first, part, failures = results.get()
            counts += part
            for line in failures:
                print(line, flush=True)
            print(f"{first} files, {time.monotonic() - started:.0f} s: {dict(counts)}", flush=True)
        if first < end:
            number = current.value
            _, notes = forged(options.seed, number)
            print(f"seed {options.seed}, file {number}: exit code {child.exitcode} ({notes})")
            counts["crashed"] += 1
            first = number + 1  # what came before it in its chunk is not counted
    print(f"{options.files} files of seed {options.seed}: {dict(counts)}")
    return int(any(counts[kind] for kind in ("wrong", "crashed")))


if __name__ == "__main__":
    sys.exit(main())
