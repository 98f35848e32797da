"""Models of other libraries, built from small configurations; nothing is downloaded."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

WORDS = 60
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SMALL |= {"intermediate_size": 48}


def _torchvision() -> Any:
    """torchvision, even if its compiled operators are of another torch: none of them is run."""
    try:
        import torchvision
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        _declare_operators()
        import torchvision
    return torchvision


def _declare_operators() -> None:
    spec = importlib.util.find_spec("torchvision")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0])
    text = (folder / "_meta_registrations.py").read_text()
    library = torch.library.Library("torchvision", "DEF")
    for name in {*re.findall(r"register_(?:fake|meta)\(\"(?:torchvision::)?(\w+)\"", text)}:
        library.define(f"{name}(Tensor a) -> Tensor")
    _KEPT.append(library)  # its operators are declared as long as it exists


_KEPT: list[Any] = []


def _transformers() -> Any:
    if importlib.util.find_spec("torchvision") is not None:
        _torchvision()  # which it imports
    import transformers

    transformers.logging.set_verbosity_error()
    return transformers


def bert() -> nn.Module:
    t = _transformers()
    return t.BertForMaskedLM(t.BertConfig(vocab_size=WORDS, max_position_embeddings=32, **SMALL))


def gpt2() -> nn.Module:
    t = _transformers()
    sizes = {"vocab_size": WORDS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32}
    tokens = {"bos_token_id": 0, "eos_token_id": 0}
    return t.GPT2LMHeadModel(t.GPT2Config(**sizes, **tokens, use_cache=False))


def llama() -> nn.Module:
    t = _transformers()
    tokens = {"vocab_size": WORDS, "pad_token_id": 0, "tie_word_embeddings": True}
    config = t.LlamaConfig(**tokens, num_key_value_heads=2, use_cache=False, **SMALL)
    return t.LlamaForCausalLM(config)


def hugging_face_vit() -> nn.Module:
    t = _transformers()
    return t.ViTForImageClassification(t.ViTConfig(image_size=16, patch_size=4, **SMALL))


def wav2vec2() -> nn.Module:
    t = _transformers()
    convolutions = {"conv_dim": (16, 16), "conv_stride": (5, 2), "conv_kernel": (10, 3)}
    positions = {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4}
    sizes = {"vocab_size": 20, "num_feat_extract_layers": 2, **convolutions, **positions}
    return t.Wav2Vec2ForCTC(t.Wav2Vec2Config(**sizes, **SMALL))


def resnet18() -> nn.Module:
    return _torchvision().models.resnet18(num_classes=10)


def mobilenet_v2() -> nn.Module:
    return _torchvision().models.mobilenet_v2(num_classes=10, width_mult=0.25)


def densenet() -> nn.Module:
    return _torchvision().models.DenseNet(8, (2, 2), 16, num_classes=10)


def _timm(name: str, **options: Any) -> nn.Module:
    _torchvision()  # which it imports
    import timm

    return timm.create_model(name, **options)


def convnext() -> nn.Module:
    return _timm("convnext_atto", num_classes=10, depths=(1, 1, 1, 1), dims=(8, 16, 24, 32))


def timm_vit() -> nn.Module:
    sizes = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 4}
    return _timm("vit_tiny_patch16_224", num_classes=10, **sizes)


def efficientnet() -> nn.Module:
    return _timm("test_efficientnet", num_classes=10)  # small already


def bart() -> nn.Module:
    t = _transformers()
    sizes = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 48}
    sizes |= {"decoder_ffn_dim": 48, "max_position_embeddings": 32}
    sizes |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    tokens = {"vocab_size": WORDS, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    tokens |= {"decoder_start_token_id": 2, "forced_eos_token_id": 2}
    return t.BartForConditionalGeneration(t.BartConfig(**sizes, **tokens, use_cache=False))


def t5() -> nn.Module:
    t = _transformers()
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    tokens = {"decoder_start_token_id": 0, "pad_token_id": 0}
    return t.T5ForConditionalGeneration(
        t.T5Config(vocab_size=WORDS, **sizes, **tokens, use_cache=False)
    )


def whisper() -> nn.Module:
    t = _transformers()
    sizes = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "num_mel_bins": 12}
    sizes |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    sizes |= {"encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_source_positions": 10}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    config = t.WhisperConfig(vocab_size=WORDS, **sizes, **tokens, use_cache=False)
    return t.WhisperForConditionalGeneration(config)


def squeezenet() -> nn.Module:
    return _torchvision().models.squeezenet1_1(num_classes=10)


def shufflenet() -> nn.Module:
    models = _torchvision().models
    return models.ShuffleNetV2([1, 2, 1], [8, 16, 24, 32, 48], num_classes=10)


def googlenet() -> nn.Module:
    options = {"num_classes": 10, "aux_logits": True, "init_weights": False}
    return _torchvision().models.googlenet(weights=None, **options)


def regnet() -> nn.Module:
    return _torchvision().models.regnet_y_400mf(num_classes=10)


def swin() -> nn.Module:
    swin_transformer = _torchvision().models.SwinTransformer
    sizes = {"patch_size": [2, 2], "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4]}
    return swin_transformer(**sizes, window_size=[4, 4], num_classes=10)


def mixer() -> nn.Module:
    _torchvision()  # which timm imports
    from timm.models.mlp_mixer import MlpMixer

    return MlpMixer(10, img_size=16, patch_size=4, num_blocks=2, embed_dim=32)


def repvgg() -> nn.Module:
    return _timm("repvgg_a0", num_classes=10)


# --- the same at their usual size -----------------------------------------------------------------

USUAL: dict[str, Callable[[], nn.Module]] = {
    "bert": lambda: _transformers().BertForMaskedLM(_transformers().BertConfig()),
    "gpt2": lambda: _transformers().GPT2LMHeadModel(_transformers().GPT2Config()),
    "vit": lambda: _transformers().ViTForImageClassification(_transformers().ViTConfig()),
    "wav2vec2": lambda: _transformers().Wav2Vec2ForCTC(_transformers().Wav2Vec2Config()),
    "mobilenet_v2": lambda: _torchvision().models.mobilenet_v2(),
    "densenet": lambda: _torchvision().models.densenet121(),
    "convnext": lambda: _timm("convnext_tiny"),
    "timm_vit": lambda: _timm("vit_base_patch16_224"),
    "efficientnet": lambda: _timm("efficientnet_b0"),
    "t5": lambda: _transformers().T5ForConditionalGeneration(_transformers().T5Config()),
    "whisper": lambda: _transformers().WhisperForConditionalGeneration(
        _transformers().WhisperConfig()
    ),
    "shufflenet": lambda: _torchvision().models.shufflenet_v2_x1_0(),
    "swin": lambda: _torchvision().models.swin_t(),
    "mixer": lambda: _timm("mixer_b16_224"),
}
