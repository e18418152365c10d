"""Tiny models of random weights, made on the spot: for what depends on a model's kind and not on what it knows.

`python -m benchmarks.weights.tiny chat|classify|embed|score|see|hear [--out FOLDER]` makes one in about ten seconds, with torch and
transformers (`see` needs pillow as well). Each is a Hugging Face folder of about a million parameters that vLLM loads.
Their tokenizer is trained on the standard library's sources; `<think>` and `</think>` are tokens, but no special ones,
since a special token is taken out of the text, and with it the end of a thought.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.weights.smollm2 import WEIGHTS

VOCABULARY = 2_048
WIDTH = 128
CONTEXT = 8_192
PICTURE = 56
PATCH = 14
PAD, BEGIN, END, SEEN = "<|pad|>", "<|begin|>", "<|end|>", "<image>"
HEARD = ("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
MEL_BINS = 16
ROLES = ("system", "user", "assistant", "tool")
THOUGHT = ("<think>", "</think>")
TEMPLATE = """
{%- for message in messages -%}
<|{{ message.role }}|>
{%- if message.content is string -%}
{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{{ part.text if part.type == 'text' else '<image>' }}
{%- endfor -%}
{%- endif -%}
<|end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}
""".strip()


def _library(name: str) -> Any:
    """torch and its kin come with the environment of vLLM, and never with ours: they are asked for by name."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    return importlib.import_module(name)


def tokenizer() -> Any:
    """Byte-level BPE with a chat template, the same at every run of one Python release."""
    tokenizers, transformers = _library("tokenizers"), _library("transformers")
    special = [PAD, BEGIN, END, *(f"<|{role}|>" for role in ROLES), SEEN]
    core = tokenizers.Tokenizer(tokenizers.models.BPE())
    core.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(THOUGHT),
        special_tokens=special,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:60]
    core.train([str(file) for file in texts], trainer)
    core.add_tokens([tokenizers.AddedToken(mark, special=False, normalized=False) for mark in THOUGHT])
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=BEGIN, eos_token=END, pad_token=PAD, model_max_length=CONTEXT
    )
    made.chat_template = TEMPLATE
    return made


def _ids(words: Any) -> dict[str, int]:
    return {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}


def _sizes(words: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(words),
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": CONTEXT,
    }


def _llama(words: Any) -> dict[str, Any]:
    return {**_sizes(words), "num_key_value_heads": 2, **_ids(words)}


def chat(target: Path) -> None:
    """A causal language model, Llama's architecture, that writes nonsense."""
    transformers, words = _library("transformers"), tokenizer()
    _save(transformers.LlamaForCausalLM(transformers.LlamaConfig(**_llama(words))), words, target)


def classify(target: Path, labels: int = 3) -> None:
    """A classifier of texts with three labels, BERT's architecture."""
    transformers, words = _library("transformers"), tokenizer()
    settings = transformers.BertConfig(num_labels=labels, pad_token_id=words.pad_token_id, **_sizes(words))
    _save(transformers.BertForSequenceClassification(settings), words, target)


def score(target: Path) -> None:
    """A cross-encoder, which reads two texts and has one number for them: a classifier with one label."""
    classify(target, labels=1)


def embed(target: Path) -> None:
    """A model for embeddings of 128 numbers, BERT's architecture, with the modules file that tells how it pools."""
    transformers, words = _library("transformers"), tokenizer()
    settings = transformers.BertConfig(pad_token_id=words.pad_token_id, **_sizes(words))
    _save(transformers.BertModel(settings), words, target)
    prefix = "sentence_transformers.models"
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": f"{prefix}.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{prefix}.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": f"{prefix}.Normalize"},
    ]
    (target / "modules.json").write_text(json.dumps(modules))
    (target / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": WIDTH, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    (target / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def see(target: Path) -> None:
    """A model that takes text and pictures, LLaVA's architecture: a picture is 16 tokens."""
    transformers, words = _library("transformers"), tokenizer()
    picture_token = words.convert_tokens_to_ids(SEEN)
    eyes = transformers.CLIPVisionConfig(
        hidden_size=WIDTH // 2, intermediate_size=WIDTH, num_hidden_layers=2, num_attention_heads=1,
        image_size=PICTURE, patch_size=PATCH, projection_dim=WIDTH // 2,
    )  # fmt: skip
    settings = transformers.LlavaConfig(
        vision_config=eyes, text_config=transformers.LlamaConfig(**_llama(words)),
        image_token_id=picture_token, image_token_index=picture_token, image_seq_length=(PICTURE // PATCH) ** 2,
        vision_feature_layer=-2, vision_feature_select_strategy="default",
    )  # fmt: skip
    _save(transformers.LlavaForConditionalGeneration(settings), words, target)
    _rename(target / "model.safetensors", r"vision_tower\.(?!vision_model\.)", "vision_tower.vision_model.")
    # The one that needs no torchvision, where transformers has it.
    images = getattr(transformers, "CLIPImageProcessorPil", transformers.CLIPImageProcessor)
    sized = images(size={"shortest_edge": PICTURE}, crop_size={"height": PICTURE, "width": PICTURE})
    words.image_token = SEEN
    transformers.LlavaProcessor(
        image_processor=sized, tokenizer=words, patch_size=PATCH, vision_feature_select_strategy="default",
        chat_template=TEMPLATE, image_token=SEEN, num_additional_image_tokens=1,
    ).save_pretrained(target)  # fmt: skip


def hear(target: Path) -> None:
    """A model that takes text and sound, Qwen2-Audio's architecture: a second of sound is 25 tokens."""
    transformers, words = _library("transformers"), tokenizer()
    words.add_tokens(list(HEARD), special_tokens=True)
    template = TEMPLATE.replace(SEEN, HEARD[0])
    ears = transformers.Qwen2AudioEncoderConfig(
        num_mel_bins=MEL_BINS, d_model=WIDTH // 2, encoder_layers=2, encoder_attention_heads=1, encoder_ffn_dim=WIDTH
    )
    settings = transformers.Qwen2AudioConfig(
        audio_config=ears, text_config=transformers.Qwen2Config(**_llama(words)),
        audio_token_index=words.convert_tokens_to_ids(HEARD[0]),
    )  # fmt: skip
    _save(transformers.Qwen2AudioForConditionalGeneration(settings), words, target)
    _rename(target / "model.safetensors", r"language_model\.model\.model\.", "language_model.model.")
    mel = transformers.WhisperFeatureExtractor(feature_size=MEL_BINS)
    transformers.Qwen2AudioProcessor(feature_extractor=mel, tokenizer=words, chat_template=template).save_pretrained(
        target
    )


def adapter(target: Path, *, seed: int = 1, rank: int = 4) -> Path:
    """A LoRA adapter of the chat model, as PEFT saves it, so loud that the model writes something else."""
    torch, saved = _library("torch"), _library("safetensors.torch")
    dice = torch.Generator().manual_seed(seed)
    weights = {}
    for layer in range(2):
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            key = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            weights[f"{key}.lora_A.weight"] = torch.randn(rank, WIDTH, generator=dice)
            weights[f"{key}.lora_B.weight"] = torch.randn(WIDTH, rank, generator=dice)
    target.mkdir(parents=True)
    saved.save_file(weights, target / "adapter_model.safetensors", metadata={"format": "pt"})
    told = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank, "lora_dropout": 0.0, "bias": "none",
        "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"], "inference_mode": True, "base_model_name_or_path": "tiny-chat",
    }  # fmt: skip
    (target / "adapter_config.json").write_text(json.dumps(told))
    return target


def _save(model: Any, words: Any, target: Path) -> None:
    if hasattr(model, "generation_config") and model.generation_config is not None:
        model.generation_config.eos_token_id = words.eos_token_id
    model.to(_library("torch").bfloat16).save_pretrained(target)
    words.save_pretrained(target)


def _rename(file: Path, found: str, named: str) -> None:
    """Transformers 5 saves some weights under other names than those that vLLM 0.32 looks for: give them those."""
    saved = _library("safetensors.torch")
    weights = {re.sub(found, named, key): value for key, value in saved.load_file(file).items()}
    saved.save_file(weights, file, metadata={"format": "pt"})


KINDS: dict[str, Callable[[Path], None]] = {
    "chat": chat,
    "classify": classify,
    "embed": embed,
    "score": score,
    "see": see,
    "hear": hear,
}


def folder(kind: str, target: Path | None = None, *, seed: int = 0) -> Path:
    """The folder of a tiny model of that kind, made if it is not there."""
    made = target or WEIGHTS / f"tiny-{kind}"
    if not (made / "config.json").is_file():
        made.parent.mkdir(parents=True, exist_ok=True)
        _library("torch").manual_seed(seed)
        with tempfile.TemporaryDirectory(dir=made.parent) as place:
            building = Path(place, "model")
            KINDS[kind](building)
            for file in filter(Path.is_file, building.iterdir()):
                file.chmod(0o644)  # transformers writes weights for their owner only
            building.rename(made)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else None)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    print(folder(asked.kind, asked.out))


if __name__ == "__main__":
    main()
