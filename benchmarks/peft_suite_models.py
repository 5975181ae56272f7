"""A plugin of pytest: the models that PEFT's own tests take from the hub are built from configs.

They have the hub's names and tiny sizes of our own, so that a test that knows a number fails.
"""

from functools import cache
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForTokenClassification,
    BartConfig,
    BertConfig,
    DebertaConfig,
    DebertaV2Config,
    FalconMambaConfig,
    Gemma3TextConfig,
    GPT2Config,
    GPTJConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    Qwen2Config,
    RobertaConfig,
    T5Config,
)

WORDS = 1000
ENDS = {"bos_token_id": 1, "eos_token_id": 2}
BOTH = {"vocab_size": WORDS, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES = BOTH | {"hidden_size": 32, "intermediate_size": 37}
GPT = ENDS | {"vocab_size": WORDS, "n_layer": 2, "n_head": 4, "n_embd": 32}
GROUPS = {"num_key_value_heads": 2}
#: By the end of the name on the hub.
CONFIGS = {
    "OPTForCausalLM": OPTConfig(**BOTH, hidden_size=16, ffn_dim=16, word_embed_proj_dim=16),
    "GPT2LMHeadModel": GPT2Config(**GPT),
    "gpt2": GPT2Config(**GPT),
    "GPTJForCausalLM": GPTJConfig(**GPT, rotary_dim=4),
    "LlamaForCausalLM": LlamaConfig(**SIZES),
    "MistralForCausalLM": MistralConfig(**SIZES, **GROUPS),
    "dummy-qwen2": Qwen2Config(**SIZES, **GROUPS),
    "Gemma3ForCausalLM": Gemma3TextConfig(**SIZES, **GROUPS, head_dim=8),
    "falcon-mamba-tiny-dev": FalconMambaConfig(
        vocab_size=WORDS, hidden_size=16, num_hidden_layers=2, state_size=4, intermediate_size=32,
    ),
    "T5ForConditionalGeneration-calibrated": T5Config(
        vocab_size=WORDS, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4,
        decoder_start_token_id=0,
    ),
    "BartForConditionalGeneration": BartConfig(
        vocab_size=WORDS, d_model=16, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=4,
        decoder_ffn_dim=4, encoder_attention_heads=4, decoder_attention_heads=4,
    ),
    "BertModel": BertConfig(**SIZES),
    "RobertaModel": RobertaConfig(**SIZES),
    "DebertaModel": DebertaConfig(**SIZES),
    "DebertaV2Model": DebertaV2Config(**SIZES),
}  # fmt: skip
#: Where they are saved; removed when the process ends.
SAVED = TemporaryDirectory()
KINDS = (AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForTokenClassification)


@cache
def folder(kind: Any, name: str) -> str:
    """Build a model, once, and save it.

    Args:
        kind: class of transformers that makes it.
        name: on the hub.

    Returns:
        The folder where it lies; the name itself if it is none of these.
    """
    end = next((end for end in CONFIGS if name.endswith(end)), None)
    if end is None or name.startswith("/"):
        return name
    place = mkdtemp(prefix=end, dir=SAVED.name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kind.from_config(CONFIGS[end]).save_pretrained(place)
    return place


def _from_configs(kind: Any) -> None:
    original = kind.from_pretrained

    def from_pretrained(name: Any, *args: Any, **kwargs: Any) -> Any:
        return original(folder(kind, str(name)), *args, **kwargs)

    kind.from_pretrained = from_pretrained


for each in KINDS:
    _from_configs(each)
