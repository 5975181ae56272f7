"""Tiny models of transformers from their configs, adapters on them, and inputs."""

import torch
from peft import get_peft_model
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

from lora_dropout.peft import AdaLoraDropoutConfig, LoraDropoutConfig

WORDS, CLASSES, TOKENS = 40, 3, 6
SIZES = {
    "vocab_size": WORDS, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 24,
}  # fmt: skip
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "num_labels": CLASSES}


def made(kind, config):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind(config)
        # Weights far from 0, so that differences between networks show.
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    return model


def bert():
    return made(BertForSequenceClassification, BertConfig(**SIZES, **STILL))


def bert_qa():
    return made(BertForQuestionAnswering, BertConfig(**SIZES, **(STILL | {"num_labels": 2})))


def deberta():
    config = DebertaV2Config(
        **SIZES, **STILL, relative_attention=True, pos_att_type=["p2c", "c2p"],
        position_biased_input=False, share_att_key=True, max_relative_positions=8,
        type_vocab_size=0,
    )  # fmt: skip
    return made(DebertaV2ForSequenceClassification, config)


def llama():
    return made(LlamaForCausalLM, LlamaConfig(**SIZES, num_key_value_heads=2))


def tied_llama():
    config = LlamaConfig(**SIZES, num_key_value_heads=2, tie_word_embeddings=True)
    return made(LlamaForCausalLM, config)


def mixtral():
    config = MixtralConfig(
        **SIZES, num_key_value_heads=2, num_local_experts=3, num_experts_per_tok=2
    )
    return made(MixtralForCausalLM, config)


#: Model, the layers that are adapted, and what PEFT calls its task.
MODELS = {
    "bert": (bert, ["query", "value"], "SEQ_CLS"),
    "deberta": (deberta, ["query_proj", "value_proj"], "SEQ_CLS"),
    "llama": (llama, ["q_proj", "v_proj", "up_proj"], "CAUSAL_LM"),
}


def lora(targets, task="SEQ_CLS", p=0.3, **changes):
    settings = {"r": 4, "lora_alpha": 8, "target_modules": targets, "task_type": task}
    return LoraDropoutConfig(**(settings | changes), dropout_rate=p)


def adalora(targets, task="SEQ_CLS", p=0.3, **changes):
    settings = {
        "init_r": 6, "target_r": 3, "lora_alpha": 8, "total_step": 12, "tinit": 2, "tfinal": 3,
        "target_modules": targets, "task_type": task,
    }  # fmt: skip
    return AdaLoraDropoutConfig(**(settings | changes), dropout_rate=p)


CONFIGS = {"lora": lora, "adalora": adalora}


def adapted(name="bert", config=lora, seed=0, **changes):
    """A tiny model with adapters whose factors are not 0."""
    build, targets, task = MODELS[name]
    return randomize(get_peft_model(build(), config(targets, task, **changes)), seed)


def randomize(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                value = 0.3 * torch.randn(parameter.shape, generator=generator)
                parameter.copy_(value.to(parameter))
    return model


def batch(rows=4, seed=0, causal=False):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, WORDS, (rows, TOKENS), generator=generator)
    mask = torch.ones_like(ids)
    labels = ids if causal else torch.randint(0, CLASSES, (rows,), generator=generator)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def batch_for(name, **changes):
    return batch(causal=name == "llama", **changes)


def gradients(model):
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
