"""Every family of models that the tests grow and pack, and that the coverage table lists."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tests.families import libraries, written


@dataclass(frozen=True)
class Family:
    """A kind of model, built small.

    Attributes:
        name: shown in test ids and in the coverage table.
        build: makes a new instance, with random weights.
        inputs: makes the positional arguments of one forward pass.
        needs: libraries that must be installed.
        heavy: whether a test of it takes more than a few seconds.
        usual: makes an instance of the usual size, where that is another.
        stream: the first layer of the stream that its norms read, where that grows.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], tuple[Any, ...]]
    needs: tuple[str, ...] = ()
    heavy: bool = False
    usual: Callable[[], nn.Module] | None = None
    stream: str | None = None

    @property
    def missing(self) -> list[str]:
        """Libraries that it needs and that are not installed."""
        return [library for library in self.needs if importlib.util.find_spec(library) is None]


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _words(*shape: int, count: int = written.WORDS) -> Tensor:
    return torch.randint(1, count, shape, generator=torch.Generator().manual_seed(0))


def _image(size: int, batch: int = 2) -> Callable[[], tuple[Tensor]]:
    return lambda: (_random(batch, 3, size, size),)


def _sentences() -> tuple[Tensor]:
    words = _words(3, 7)
    words[1, 5:] = 0  # padding
    return (words,)


HUGGING_FACE, TORCHVISION, TIMM = ("transformers",), ("torchvision",), ("timm", "torchvision")

FAMILIES = (
    Family("MLP", written.mlp, lambda: (_random(6, 12),)),
    Family("AWD-LSTM", written.AwdLstm, lambda: (_words(7, 3),)),
    Family("GRU seq2seq with attention", written.Seq2Seq, lambda: (_words(3, 6), _words(3, 4))),
    Family("U-Net", written.UNet, _image(16)),
    Family("DenseNet-like", written.DenseNet, _image(8)),
    Family("MobileNet-like", written.mobile_net, _image(16)),
    Family("keyword spotter", written.KeywordSpotter, lambda: (_random(3, 20, 12),)),
    Family("nn.TransformerEncoderLayer", written.Transformer, _sentences, stream="tokens"),
    Family("loop over GRUCell", written.Loop, lambda: (_random(3, 6, 6),)),
    Family(
        "Hugging Face BERT",
        libraries.bert,
        lambda: (_words(2, 9),),
        HUGGING_FACE,
        usual=libraries.USUAL["bert"],
    ),
    Family(
        "Hugging Face GPT-2",
        libraries.gpt2,
        lambda: (_words(2, 9),),
        HUGGING_FACE,
        usual=libraries.USUAL["gpt2"],
        stream="transformer.wte",
    ),
    Family(
        "Hugging Face Llama",
        libraries.llama,
        lambda: (_words(2, 9),),
        HUGGING_FACE,
        stream="model.embed_tokens",
    ),
    Family(
        "Hugging Face ViT",
        libraries.hugging_face_vit,
        _image(16),
        HUGGING_FACE,
        usual=libraries.USUAL["vit"],
        stream="vit.embeddings.patch_embeddings.projection",
    ),
    Family(
        "Hugging Face wav2vec2",
        libraries.wav2vec2,
        lambda: (_random(2, 800),),
        HUGGING_FACE,
        usual=libraries.USUAL["wav2vec2"],
    ),
    Family("torchvision ResNet-18", libraries.resnet18, _image(32), TORCHVISION, heavy=True),
    Family(
        "torchvision MobileNetV2",
        libraries.mobilenet_v2,
        _image(32),
        TORCHVISION,
        usual=libraries.USUAL["mobilenet_v2"],
    ),
    Family(
        "torchvision DenseNet",
        libraries.densenet,
        _image(32),
        TORCHVISION,
        usual=libraries.USUAL["densenet"],
    ),
    Family(
        "timm ConvNeXt",
        libraries.convnext,
        _image(32),
        TIMM,
        usual=libraries.USUAL["convnext"],
    ),
    Family(
        "timm ViT",
        libraries.timm_vit,
        _image(16),
        TIMM,
        usual=libraries.USUAL["timm_vit"],
        stream="patch_embed.proj",
    ),
    Family(
        "timm EfficientNet",
        libraries.efficientnet,
        _image(32),
        TIMM,
        usual=libraries.USUAL["efficientnet"],
    ),
    Family("Hugging Face BART", libraries.bart, lambda: (_words(2, 9),), HUGGING_FACE, heavy=True),
    Family(
        "Hugging Face T5",
        libraries.t5,
        lambda: (_words(2, 9), None, _words(2, 5)),
        HUGGING_FACE,
        heavy=True,
        usual=libraries.USUAL["t5"],
    ),
    Family(
        "Hugging Face Whisper",
        libraries.whisper,
        lambda: (_random(2, 12, 20), None, _words(2, 5)),
        HUGGING_FACE,
        heavy=True,
        usual=libraries.USUAL["whisper"],
    ),
    Family("torchvision SqueezeNet", libraries.squeezenet, _image(32), TORCHVISION, heavy=True),
    Family(
        "torchvision ShuffleNetV2",
        libraries.shufflenet,
        _image(32),
        TORCHVISION,
        usual=libraries.USUAL["shufflenet"],
    ),
    Family("torchvision GoogLeNet", libraries.googlenet, _image(64), TORCHVISION, heavy=True),
    Family("torchvision RegNet", libraries.regnet, _image(32), TORCHVISION, heavy=True),
    Family(
        "torchvision Swin",
        libraries.swin,
        _image(32),
        TORCHVISION,
        heavy=True,
        usual=libraries.USUAL["swin"],
    ),
    Family(
        "timm MLP-Mixer",
        libraries.mixer,
        _image(16),
        TIMM,
        usual=libraries.USUAL["mixer"],
    ),
    Family("timm RepVGG", libraries.repvgg, _image(32), TIMM, heavy=True),
)
