"""Tables cut into bands against uncut ones."""

import pytest
import torch
from torch import nn

from autoquant.artifact import packed_file
from autoquant.errors import UserError
from autoquant.graph.describe import describe
from autoquant.graph.prepare import prepare
from autoquant.layers.linear import IntegerLinear
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme
from autoquant.tasks.banded import BandedEmbedding, BandedLinear
from autoquant.tasks.language_model import LanguageModel
from autoquant.training.qat import build_candidate
from tests import toys

BANDS = pytest.mark.parametrize("bands", [[1], [3, 5], [2, 4, 11]], ids=str)
SIZES = {"embedding": 6, "hidden": 8, "dropout": 0.0}


@BANDS
def test_a_banded_embedding_is_the_uncut_one(bands):
    whole, cut = nn.Embedding(12, 4), BandedEmbedding(12, 4, bands)
    cut.load_state_dict(whole.state_dict())
    ids = torch.randint(12, (5, 7))
    first, second = whole(ids), cut(ids)
    assert torch.equal(first, second)
    first.square().sum().backward()
    second.square().sum().backward()
    grads = torch.cat([part.weight.grad for part in cut.children()])
    torch.testing.assert_close(grads, whole.weight.grad)


@BANDS
@pytest.mark.parametrize("units", [None, [0, 3, 4, 11], [11]], ids=str)
def test_a_banded_decoder_is_the_uncut_one(bands, units):
    whole, cut = IntegerLinear(4, 12), BandedLinear(4, 12, bands)
    cut.load_state_dict(whole.state_dict())
    chosen = None if units is None else torch.tensor(units)
    inputs = torch.randn(3, 4)
    torch.testing.assert_close(cut(inputs, chosen), whole(inputs, chosen))


@pytest.mark.parametrize("bands", [[0], [12], [5, 3], [3, 3], [2.5], "3", 4, [True]], ids=repr)
def test_odd_bands_are_refused(bands):
    with pytest.raises(UserError, match="bands must be a list of rising word numbers"):
        LanguageModel(12, bands=bands)


def test_a_banded_model_takes_an_uncut_checkpoint():
    torch.manual_seed(0)
    whole, cut = LanguageModel(12, **SIZES), LanguageModel(12, **SIZES, bands=[3, 7])
    cut.load_state_dict(whole.state_dict())
    tokens = torch.randint(12, (5, 2))
    torch.testing.assert_close(cut(tokens)[0], whole(tokens)[0])
    cut.load_state_dict(cut.state_dict())
    with pytest.raises(RuntimeError, match="size mismatch"):
        cut.load_state_dict(LanguageModel(13, **SIZES).state_dict())


@pytest.mark.parametrize("sampled", [0, 12])
def test_bands_have_bits_of_their_own_through_the_whole_pipeline(sampled, tmp_path):
    task = toys.language_task(bands=[4, 10], sampled=sampled)
    model = prepare(task.build_model())
    network = describe(model, task.example().inputs)
    tables = [f"{name}.{i}" for name in ("embedding", "decoder") for i in range(3)]
    assert set(network.names) == {*tables, "rnn.l0"}
    assert {network.groups[f"embedding.{i}"] for i in range(3)} == {"embedding.0"}
    bits = dict(zip(tables, (4, 2, 1, 8, 3, 1.6), strict=True))
    choices = {
        name: LayerChoice(bits.get(name, 4), 8 if name[0] != "e" else 32, width)
        for name, width in ((n, 1.5 if n[0] in "er" else 1.0) for n in network.names)
    }
    plan, scheme = Plan(choices), Scheme()
    candidate = build_candidate(model, network, plan, scheme, task, method="split", seed=0)
    candidate.train()
    loss, _ = task.loss(candidate, next(task.batches(0)), None)
    loss.backward()
    path = tmp_path / "model.safetensors"
    packed_file.save(path, candidate.eval(), network, plan, scheme)
    loaded = packed_file.load(path, task.build_model())
    with torch.no_grad():
        inputs = task.example().inputs
        assert torch.equal(loaded(*inputs)[0], candidate(*inputs)[0])
