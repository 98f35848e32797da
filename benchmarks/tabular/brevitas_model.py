"""BrevitasLanguageModel: the recorded language model with uniform bits, quantized by Brevitas."""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor, nn

from benchmarks.peers import need
from benchmarks.peers.brevitas import EQUIVALENT

STATISTICS = 40
"""Steps in which Brevitas gathers the statistics of activations; then their scales are learned.
Its default of 300 would be nearly the whole training."""


class BrevitasLanguageModel(nn.Module):
    """Embedding, LSTM layers and decoder of ``tasks.language_model.LanguageModel``, fake-quantized.

    Weights have one scale a channel and inputs and hidden states one a tensor; gates, cell states
    and biases stay in float, as autoquant keeps them while it trains.

    Args:
        model: the trained float model, whose weights are taken over.
        weight_bits: of all weights.
        activation_bits: of layer inputs and hidden states.

    Raises:
        Absent: Brevitas is not installed.
    """

    def __init__(self, model: nn.Module, weight_bits: int, activation_bits: int) -> None:
        super().__init__()
        need("brevitas")
        from brevitas.nn import QuantEmbedding, QuantLinear, QuantLSTM
        from brevitas.quant import Int8ActPerTensorFloat, Int8WeightPerChannelFloat

        embedding, rnn, decoder = (model.get_submodule(n) for n in ("embedding", "rnn", "decoder"))
        assert isinstance(embedding, nn.Embedding)
        assert isinstance(rnn, nn.LSTM)
        per_channel = {"weight_quant": Int8WeightPerChannelFloat, "weight_bit_width": weight_bits}
        self.embedding = QuantEmbedding(
            embedding.num_embeddings, embedding.embedding_dim, weight_bit_width=weight_bits
        )
        self.layers = nn.ModuleList(
            QuantLSTM(  # one for each layer: with more, Brevitas takes the wrong initial states
                rnn.input_size if number == 0 else rnn.hidden_size,
                rnn.hidden_size,
                **per_channel,
                io_quant=Int8ActPerTensorFloat,
                io_bit_width=activation_bits,
                io_collect_stats_steps=STATISTICS,
                **EQUIVALENT,
            )
            for number in range(rnn.num_layers)
        )
        self.decoder = QuantLinear(
            decoder.in_features,
            decoder.out_features,
            bias=True,
            **per_channel,
            input_quant=Int8ActPerTensorFloat,
            input_bit_width=activation_bits,
            input_collect_stats_steps=STATISTICS,
        )
        self.embedding.load_state_dict(embedding.state_dict(), strict=False)  # all but the scales
        self.decoder.load_state_dict(decoder.state_dict(), strict=False)
        for number, layer in enumerate(self.layers):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            weights = {f"{name}_l0": getattr(rnn, f"{name}_l{number}") for name in names}
            layer.load_state_dict(weights, strict=False)

    def forward(
        self, tokens: Tensor, state: Any = None, words: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """As ``LanguageModel.forward``.

        Args:
            tokens: word ids, [T, B].
            state: (h, c) of each layer, or None.
            words: not supported; None.

        Returns:
            logits [T, B, V], and the state after the last time step.
        """
        assert words is None
        outputs, ended = self.embedding(tokens), []
        for number, layer in enumerate(self.layers):
            initial = () if state is None else ([*values] for values in state[number])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torch's named tensors, at every call
                outputs, after = layer(outputs, *initial)
            ended.append(after)
        return self.decoder(outputs), tuple(ended)
