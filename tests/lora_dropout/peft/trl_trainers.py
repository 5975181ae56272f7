"""TRL's trainers over a tiny LLaMA, with data and a tokenizer that are made here."""

import torch
from datasets import Dataset, disable_progress_bars
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast
from transformers import set_seed as seeded
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

from lora_dropout.peft import LoraDropoutTrainerMixin
from tests.lora_dropout.peft.models import CONFIGS, SIZES, WORDS, llama, randomize

TARGETS = ["q_proj", "v_proj"]


class SFT(LoraDropoutTrainerMixin, SFTTrainer):
    """Supervised fine-tuning."""


class DPO(LoraDropoutTrainerMixin, DPOTrainer):
    """Direct preference optimization."""


class Reward(LoraDropoutTrainerMixin, RewardTrainer):
    """A reward from preferences."""


def tokenizer():
    """Words w0, w1 and so on, each a token."""
    words = ["<pad>", "<s>", "</s>", *(f"w{number}" for number in range(WORDS - 3))]
    known = {word: number for number, word in enumerate(words)}
    made = Tokenizer(models.WordLevel(known, "<pad>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
        unk_token="<pad>",
    )  # fmt: skip


def words(first, count):
    return " ".join(f"w{(first + 7 * number) % (WORDS - 3)}" for number in range(count))


def rows(kind, count=16):
    """Answers, or pairs of a better and a worse one, of different lengths."""
    disable_progress_bars()
    answers = [
        {"prompt": words(number, 3), "completion": f" {words(5 * number, 2 + number % 4)}"}
        for number in range(count)
    ]
    pairs = [
        {"prompt": row["prompt"], "chosen": row["completion"],
         "rejected": f" {words(9 * number + 1, 1 + number % 3)}"}
        for number, row in enumerate(answers)
    ]  # fmt: skip
    return Dataset.from_list(answers if issubclass(kind, SFTTrainer) else pairs)


def reward_model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LlamaConfig(**SIZES, num_key_value_heads=2, num_labels=1, pad_token_id=0)
        return LlamaForSequenceClassification(config)


CONFIG = {SFTTrainer: SFTConfig, DPOTrainer: DPOConfig, RewardTrainer: RewardConfig}


def arguments(kind, folder, **changes):
    """Those of TRL that make a short and silent run on a CPU; the rest is TRL's default."""
    made = next(config for trainer, config in CONFIG.items() if issubclass(kind, trainer))
    settings = {
        "per_device_train_batch_size": 8, "max_steps": 4, "logging_steps": 1, "max_length": 16,
        "learning_rate": 0.02, "report_to": [], "save_strategy": "no", "use_cpu": True,
        "bf16": False, "disable_tqdm": True, "dataloader_pin_memory": False,
    }  # fmt: skip
    return made(str(folder), **(settings | changes))


def trainer(kind, folder, *, config="lora", p=0.4, model=None, options=(), **changes):
    """Make a trainer whose adapter has factors other than 0.

    Args:
        kind: of this file, or of TRL.
        folder: that it writes to.
        config: "lora" or "adalora".
        p: the rate.
        model: default: a decoder, or one with a reward.
        options: of :class:`LoraDropoutTrainerMixin`.
        **changes: of TRL's arguments.
    """
    seeded(0)
    rewards = issubclass(kind, RewardTrainer)
    task = "SEQ_CLS" if rewards else "CAUSAL_LM"
    adapter = CONFIGS[config](TARGETS, task, p=p) if model is None else None
    made = kind(
        model=model or (reward_model() if rewards else llama()),
        args=arguments(kind, folder, **changes),
        train_dataset=rows(kind), eval_dataset=rows(kind), processing_class=tokenizer(),
        peft_config=adapter, **dict(options),
    )  # fmt: skip
    if model is None:
        randomize(made.model)
    return made


def batch_of(made, count=8):
    """The first rows as the trainer puts them together."""
    return made.data_collator([made.train_dataset[number] for number in range(count)])
