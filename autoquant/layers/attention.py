"""``Attention``: stands in for nn.MultiheadAttention; its projections are layers of their own.

Heads can grow in number: a duplicated head attends as its source does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.MultiheadAttention):
    """Multi-head attention from four linear layers; inputs and outputs as nn.MultiheadAttention's.

    User code knows it as that class, but finds no joint weight of the projections.

    Args:
        query: projects queries, [..., E] -> [..., H*D].
        key: projects keys, to the same width.
        value: projects values, to the same width.
        out: projects the heads' outputs, [..., H*D] -> [..., E].
        head: size of a head D; the number of heads H is the projections' width divided by it.
        dropout: probability that an attention weight is dropped in training.
        batch_first: whether inputs and outputs are [B, L, E], not [L, B, E].
    """

    bias_k = bias_v = None  # see ``suits``
    add_zero_attn = False

    def __init__(
        self,
        query: nn.Linear,
        key: nn.Linear,
        value: nn.Linear,
        out: nn.Linear,
        *,
        head: int,
        dropout: float,
        batch_first: bool,
    ) -> None:
        nn.Module.__init__(self)
        # These two keep nn.TransformerEncoderLayer from its fused path, which calls no layers.
        self.in_proj_bias = None  # type: ignore[assignment]
        self._qkv_same_embed_dim = False
        self.q_proj, self.k_proj, self.v_proj = query, key, value
        self.out_proj = out  # type: ignore[assignment]
        self.head_dim = head
        self.embed_dim = out.out_features
        self.kdim, self.vdim = key.in_features, value.in_features
        self.num_heads = query.out_features // head  # as user code knows it
        self.dropout = dropout
        self.batch_first = batch_first

    @staticmethod
    def suits(module: nn.MultiheadAttention) -> bool:
        """Whether a module has no weights beside its projections.

        Args:
            module: of torch.
        """
        return module.bias_k is None and not module.add_zero_attn

    @classmethod
    def from_torch(cls, module: nn.MultiheadAttention) -> Attention:
        """The same function as a torch module, with a copy of its weights.

        Args:
            module: of torch; ``suits`` must hold.
        """
        size = module.embed_dim
        joint_weight: Any = module.in_proj_weight
        weights = [module.q_proj_weight, module.k_proj_weight, module.v_proj_weight]
        if joint_weight is not None:
            weights = _thirds(joint_weight)
        joint_bias: Any = module.in_proj_bias
        biases = [None] * 3 if joint_bias is None else _thirds(joint_bias)
        pairs = zip(weights, biases, strict=True)
        query, key, value = (_linear(weight, bias) for weight, bias in pairs)
        attention = cls(
            query,
            key,
            value,
            _linear(module.out_proj.weight, module.out_proj.bias),
            head=size // module.num_heads,
            dropout=module.dropout,
            batch_first=module.batch_first,
        )
        return attention.train(module.training)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """See nn.MultiheadAttention: the same inputs and outputs, with or without a batch axis.

        Args:
            query: [L, B, E], or [B, L, E] if batch_first, or [L, E].
            key: the same with S positions.
            value: the same with S positions.
            key_padding_mask: [B, S] or [S]: True, or minus infinity, for positions that no query
                attends to.
            need_weights: whether attention weights are returned; else None in their place.
            attn_mask: [L, S] or [B*H, L, S]: True for pairs that do not attend to each other, or
                floats that are added to the scores.
            average_attn_weights: whether the weights of all heads are averaged.
            is_causal: has no effect; ``attn_mask`` says which positions are masked.

        Returns:
            outputs, laid out as the queries, and attention weights [B, L, S] or [B, H, L, S].
        """
        unbatched = query.ndim == 2
        axis = 1 if unbatched and not self.batch_first else 0
        inputs: Any = (query, key, value)
        if unbatched:
            inputs = [values.unsqueeze(axis) for values in inputs]
            key_padding_mask = None if key_padding_mask is None else key_padding_mask[None]
        if not self.batch_first:
            inputs = [values.transpose(0, 1) for values in inputs]
        layers = self.q_proj, self.k_proj, self.v_proj
        q, k, v = (self._heads(layer(x)) for layer, x in zip(layers, inputs, strict=True))
        mask = _mask(q, k, attn_mask, key_padding_mask)
        attended, weights = self._attend(q, k, v, mask, need_weights)
        output = self.out_proj(attended.transpose(1, 2).flatten(2))  # [B, L, E]
        output = output if self.batch_first else output.transpose(0, 1)
        if weights is not None:
            weights = weights.mean(1) if average_attn_weights else weights
            weights = weights.squeeze(0) if unbatched else weights
        return output.squeeze(axis) if unbatched else output, weights

    def _heads(self, values: Tensor) -> Tensor:
        """[B, L, H*D] -> [B, H, L, D]."""
        heads = values.shape[-1] // self.head_dim
        return values.view(*values.shape[:-1], heads, self.head_dim).transpose(1, 2)

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The heads' outputs [B, H, L, D] and attention weights.

        Args:
            q: queries [B, H, L, D].
            k: keys [B, H, S, D].
            v: values [B, H, S, D].
            mask: added to scores [B, H, L, S], or None.
            need_weights: whether the weights are returned; else torch's fused kernel runs.
        """
        dropout = self.dropout if self.training else 0.0
        if not need_weights:
            return F.scaled_dot_product_attention(q, k, v, mask, dropout), None
        scores = q @ k.transpose(-2, -1) * self.head_dim**-0.5
        weights = torch.softmax(scores if mask is None else scores + mask, -1)
        weights = F.dropout(weights, self.dropout, self.training)
        return weights @ v, weights


def _mask(q: Tensor, k: Tensor, attn_mask: Tensor | None, padding: Tensor | None) -> Tensor | None:
    """What is added to scores [B, H, L, S], or None.

    Args:
        q: queries [B, H, L, D].
        k: keys [B, H, S, D].
        attn_mask: as ``Attention.forward`` has it.
        padding: the key padding mask [B, S], or None.
    """
    total = None if attn_mask is None else _additive(attn_mask, q.dtype)
    if total is not None and total.ndim == 3:
        total = total.view(len(q), q.shape[1], *total.shape[1:])
    if padding is not None:
        of_keys = _additive(padding, q.dtype).view(len(q), 1, 1, k.shape[2])
        total = of_keys if total is None else total + of_keys
    return total


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask of booleans (True: masked) as one that is added; one of floats as it is."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, float("-inf"))


def _thirds(joint: Tensor) -> list[Any]:
    """A joint parameter of queries, keys and values as one tensor for each; frozen where it is."""
    return [part.requires_grad_(joint.requires_grad) for part in joint.detach().chunk(3)]


@torch.no_grad()
def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer with copies of a weight and a bias; frozen where these are."""
    out, features = weight.shape
    linear = nn.Linear(features, out, bias is not None, weight.device, weight.dtype)
    linear.weight.copy_(weight).requires_grad_(weight.requires_grad)
    if bias is not None:
        linear.bias.copy_(bias).requires_grad_(bias.requires_grad)
    return linear
