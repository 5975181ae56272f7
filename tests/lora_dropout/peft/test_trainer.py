"""Masks by optimizer step in the Trainer; N samples as passes and as one group; the ensemble."""

import json
from functools import wraps
from pathlib import Path

import pytest
import torch
import transformers
from accelerate import Accelerator
from accelerate.utils import DistributedType
from peft import PeftModel, get_peft_model
from transformers import Trainer, TrainingArguments

from lora_dropout import Ensemble, inject, mask_schedule, members
from lora_dropout.peft import (
    LoraDropoutConfig,
    LoraDropoutTrainer,
    LoraDropoutTrainerMixin,
    MaskCallback,
    ensemble_generation,
)
from lora_dropout.peft.adalora import regularizer
from lora_dropout.peft.averaging import averaging
from lora_dropout.peft.trainer_groups import repeated
from tests.lora_dropout.peft.models import (
    SIZES,
    WORDS,
    adapted,
    batch_for,
    bert,
    lora,
    mixtral,
    randomize,
)
from tests.lora_dropout.peft.training import Rows, factors, losses, trained, trainer
from tests.torchrun import two_processes

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
#: Relative; the losses and factors are sums in float32, taken in another order.
ROUNDING = 2e-5


def assert_same(one, other):
    assert losses(one) == pytest.approx(losses(other), rel=ROUNDING)
    assert_same_factors(one, other)


@pytest.mark.parametrize("name", ["bert", "llama"])
@pytest.mark.parametrize("samples", [1, 2])
def test_accumulation_changes_nothing(name, samples, tmp_path):
    whole = trained(tmp_path, name=name, samples=samples)
    parts = trained(tmp_path, name=name, samples=samples, batch=2, accumulate=4)
    assert_same(whole, parts)
    assert mask_schedule(whole.model).step == 4


@pytest.mark.parametrize("name", ["bert", "llama"])
@pytest.mark.parametrize(("batch", "accumulate"), [(8, 1), (2, 4)])
def test_passes_and_one_group_give_the_same_training(name, batch, accumulate, tmp_path):
    """Also with a loss that is averaged over the tokens of the accumulated batch."""
    settings = {"name": name, "samples": 3, "batch": batch, "accumulate": accumulate}
    assert_same(trained(tmp_path, **settings), trained(tmp_path, grouped=True, **settings))


def test_examples_without_labels_do_not_tell_what_the_model_does_with_their_number(tmp_path):
    """They are predicted before a training whose losses have to be averaged."""
    settings = {"batch": 2, "accumulate": 4}
    assert_same(trained(tmp_path, first="predict", **settings), trained(tmp_path, **settings))


def test_what_has_a_row_an_example_is_repeated():
    """TRL's batches hold texts, and those of detectors a list of boxes an image."""
    batch = {"prompt": ["a", "b"], "rows": torch.eye(2), "boxes": ({}, {"n": 2}), "name": "ab",
             "scale": torch.tensor(3.0), "table": torch.ones(5), "none": None}  # fmt: skip
    found = repeated(batch, 2)
    assert found["prompt"] == ["a", "b", "a", "b"]
    assert torch.equal(found["rows"], torch.eye(2).repeat(2, 1))
    assert found["boxes"] == batch["boxes"] * 2
    assert all(found[name] is batch[name] for name in ("name", "scale", "table", "none"))


def test_the_loss_of_n_samples_is_their_average(tmp_path):
    made = trainer(tmp_path, samples=3, steps=1)
    model = made.model.train()
    rows = [made.train_dataset[row] for row in range(8)]
    stacked = {key: torch.stack([row[key] for row in rows]) for key in rows[0]}
    expected = []
    for sample in range(3):
        mask_schedule(model).seek(0, range(sample, sample + 1))
        with torch.no_grad():
            expected.append(float(model(**stacked).loss))
    mask_schedule(model).seek(0, range(1))
    made.train()
    assert len(set(expected)) == 3
    assert losses(made) == pytest.approx([sum(expected) / 3], rel=1e-4)


def test_a_model_without_a_batch_somewhere_takes_passes_and_says_so(tmp_path, caplog):
    grouped = trained(tmp_path, name="deberta", samples=2, grouped=True)
    assert "2 passes are taken in place of a grouped one" in caplog.text
    assert_same(trained(tmp_path, name="deberta", samples=2), grouped)


class Contrast(Trainer):
    """Every row against all others of the batch, as contrastive losses have it."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        logits = model(**{key: inputs[key] for key in ("input_ids", "attention_mask")}).logits
        return torch.nn.functional.cross_entropy(logits @ logits.mT, torch.arange(len(logits)))


class Pairs(Trainer):
    """The first half of a batch against the second; equal gradients only row by row."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        logits = model(**{key: inputs[key] for key in ("input_ids", "attention_mask")}).logits
        better, worse = logits[:, 0].chunk(2)
        return -torch.nn.functional.logsigmoid(better - worse).mean()


@pytest.mark.parametrize("loss", [Contrast, Pairs])
def test_rows_that_see_each_other_take_passes_and_it_is_said_once(loss, tmp_path, caplog):
    kind = type("Ours", (LoraDropoutTrainerMixin, loss), {})
    grouped = trained(tmp_path, kind=kind, samples=3, grouped=True)
    assert caplog.text.count("rows of a batch see each other") == 1
    assert_same(trained(tmp_path, kind=kind, samples=3), grouped)


class Later(Trainer):
    """The model's loss in the first step, and one against all others of the batch after it."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        kind = Contrast if self.state.global_step else Trainer
        return kind.compute_loss(self, model, inputs, return_outputs, num_items_in_batch)


class FromTheThird(Trainer):
    """One against all others, of batches of which the first two have nothing that counts."""

    def compute_loss(self, *args, **kwargs):
        return Contrast.compute_loss(self, *args, **kwargs) * (self.state.global_step >= 2)


def test_routers_that_are_balanced_over_the_batch_take_passes(tmp_path, caplog):
    """Their share of the loss is too small for gradients to show it."""
    base = mixtral()
    base.config.output_router_logits = True
    model = get_peft_model(base, lora(["q_proj"], "CAUSAL_LM"))
    settings = {"max_steps": 1, "report_to": [], "use_cpu": True, "save_strategy": "no"}
    arguments = TrainingArguments(str(tmp_path), disable_tqdm=True, **settings)
    data = Rows("llama")
    made = LoraDropoutTrainer(model, arguments, train_dataset=data, samples=2, grouped=True)
    made.train()
    assert "routers of experts are balanced over the batch" in caplog.text
    assert not made.grouped


class Small(torch.nn.Module):
    """A model of one's own, that is none of transformers'."""

    def __init__(self):
        super().__init__()
        self.first, self.head = torch.nn.Linear(4, 8), torch.nn.Linear(8, 3)

    def forward(self, x, labels):
        logits = self.head(self.first(x).tanh())
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


def test_a_model_without_a_config_is_trained_and_evaluated_by_an_ensemble(tmp_path):
    torch.manual_seed(0)
    model = inject(Small(), rank=2, p=0.3)
    data = [{"x": torch.randn(4), "labels": number % 3} for number in range(8)]
    settings = {"max_steps": 2, "report_to": [], "use_cpu": True, "save_strategy": "no"}
    settings |= {"learning_rate": 0.1, "per_device_eval_batch_size": 8, "disable_tqdm": True}
    made = LoraDropoutTrainer(
        model, TrainingArguments(str(tmp_path), **settings), train_dataset=data, eval_dataset=data,
        samples=2, grouped=True, ensemble=3,
    )  # fmt: skip
    made.train()
    x, labels = torch.stack([row["x"] for row in data]), torch.arange(8) % 3
    with torch.no_grad():
        mean = Ensemble(model, 3, output=lambda result: result["logits"])(x, labels)
    expected = torch.nn.functional.cross_entropy(mean, labels)
    assert made.evaluate()["eval_loss"] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("loss", [Later, FromTheThird])
def test_rows_that_come_to_see_each_other_later_take_passes_from_then_on(loss, tmp_path, caplog):
    kind = type("Ours", (LoraDropoutTrainerMixin, loss), {})
    grouped = trained(tmp_path, kind=kind, samples=3, grouped=True)
    assert caplog.text.count("rows of a batch see each other") == 1
    assert_same(trained(tmp_path, kind=kind, samples=3), grouped)


def test_rows_that_do_not_see_each_other_are_grouped_though_the_model_drops(tmp_path, caplog):
    """Its own dropout is random in a pass and says nothing of the objective."""
    made = trainer(tmp_path, samples=3, grouped=True)
    for layer in made.model.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.5
    made.train()
    assert made.grouped
    assert "in place of" not in caplog.text


@pytest.mark.parametrize("options", [{"samples": 2.0}, {"ensemble": 2.5}, {"samples": None}])
def test_numbers_of_samples_and_members_are_whole(options, tmp_path):
    with pytest.raises(ValueError, match="must be a whole number, got"):
        trainer(tmp_path, **options)


def test_an_adapter_that_was_loaded_for_use_is_not_trained(tmp_path):
    made = trainer(tmp_path)
    made.model.requires_grad_(False)
    with pytest.raises(ValueError, match="is_trainable=True"):
        made.train()


def test_a_loss_that_compares_with_an_average_of_the_batch_takes_passes(tmp_path, caplog):
    """TRL's KTO, whose average is 0 in the first batch of a fresh adapter."""
    kind = type("KTOTrainer", (LoraDropoutTrainer,), {})
    trained(tmp_path, kind=kind, samples=2, grouped=True, steps=1)
    assert caplog.text.count("rows of a batch are compared with their average") == 1


def test_an_ensemble_that_cannot_be_evaluated_is_refused_before_training(tmp_path):
    made = trainer(tmp_path, ensemble=2, arguments={"eval_strategy": "epoch"}.items())
    before = factors(made)
    base = made.model.get_base_model()
    inner = base.forward
    base.forward = wraps(inner)(lambda **inputs: {"loss": inner(**inputs).loss})
    with pytest.raises(ValueError, match="returns none of logits"):
        made.train()
    assert all(torch.equal(value, before[key]) for key, value in factors(made).items())


@pytest.mark.parametrize(("config", "broken", "steps"), [("lora", 2, 4), ("adalora", 6, 11)])
def test_resuming_continues_masks_and_ranks(config, broken, steps, tmp_path):
    """AdaLoRA is interrupted while its budget falls: it goes on with the importance of before."""
    settings = {"config": config, "samples": 2}
    straight = trained(tmp_path / "straight", steps=steps, **settings)
    trained(tmp_path / "broken", steps=broken, keep=broken, **settings)
    resumed = trainer(tmp_path / "broken", steps=steps, **settings)
    resumed.train(resume_from_checkpoint=True)
    left = steps - broken
    assert losses(resumed)[-left:] == pytest.approx(losses(straight)[-left:], rel=ROUNDING)
    assert_same_factors(straight, resumed)


def assert_same_factors(one, other):
    for key, value in factors(one).items():
        torch.testing.assert_close(value, factors(other)[key], rtol=1e-3, atol=ROUNDING)


def test_the_best_adapter_of_adalora_is_loaded_after_its_ranks_fell(tmp_path):
    """PEFT loads into layers that it cuts down, and the trainer's best model was a traceback."""
    arguments = {
        "eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True,
        "save_total_limit": None, "learning_rate": 5.0,
    }  # fmt: skip
    made = trained(tmp_path, config="adalora", steps=10, keep=2, arguments=arguments.items())
    best = Path(made.state.best_model_checkpoint)
    told = min(e["eval_loss"] for e in made.state.log_history if "eval_loss" in e)
    assert best.name != "checkpoint-10"
    assert made.evaluate()["eval_loss"] == pytest.approx(told, rel=1e-4)


@pytest.mark.parametrize(("samples", "smoothing"), [(1, 0.0), (2, 0.0), (2, 0.2)])
def test_adalora_counts_its_regularizer_once_however_a_batch_is_split(samples, smoothing, tmp_path):
    """Also where the loss is a sum over the parts, as that of a language model."""
    arguments = {"label_smoothing_factor": smoothing}.items()
    settings = {"name": "llama", "config": "adalora", "samples": samples, "arguments": arguments}
    whole = trainer(tmp_path, **settings)
    added = float(regularizer(whole.model).detach())
    whole.train()
    assert_same(whole, trained(tmp_path, batch=2, accumulate=4, **settings))
    without = trainer(tmp_path, **settings, steps=1)
    without.model.peft_config["default"].orth_reg_weight = 0.0
    without.train()
    assert losses(whole)[0] - losses(without)[0] == pytest.approx(added, rel=1e-3)


@pytest.mark.parametrize(("given", "expected"), [(None, 11), (3, 3)])
def test_several_seeds_are_several_masks(given, expected, tmp_path):
    made = trainer(tmp_path, arguments={"seed": 11}.items(), mask_seed=given)
    assert mask_schedule(made.model).seed == expected


@pytest.mark.parametrize("given", [None, 3])
def test_the_members_that_were_evaluated_are_loaded_if_the_config_has_their_seed(given, tmp_path):
    """As the page on ensembles says; otherwise others are, of seed 0."""
    made = trainer(tmp_path, steps=2, arguments={"seed": 11}.items(), mask_seed=given)
    made.train()
    made.model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(bert(), tmp_path)
    batch = {key: value for key, value in batch_for("bert").items() if key != "labels"}
    with torch.no_grad():
        found, evaluated = (
            Ensemble(model.eval(), 4, output=lambda result: result.logits)(**batch)
            for model in (loaded, made.model)
        )
    assert mask_schedule(loaded).seed == (given or 0)
    assert torch.allclose(found, evaluated) == (given is not None)


@pytest.mark.parametrize(("kind", "seed"), [(LoraDropoutTrainer, 11), (Trainer, 0)])
def test_a_model_that_the_trainer_makes_anew_has_masks_of_its_seed(kind, seed, tmp_path):
    """As searches of hyperparameters make it, a model a trial; other trainers give no seed."""
    arguments = TrainingArguments(
        str(tmp_path), seed=11, max_steps=1, use_cpu=True, report_to=[], save_strategy="no",
        disable_tqdm=True,
    )  # fmt: skip
    made = kind(
        model_init=lambda: adapted(),
        args=arguments,
        train_dataset=Rows("bert"),
        callbacks=[MaskCallback()],
    )
    made.train()
    assert (mask_schedule(made.model).seed, mask_schedule(made.model).step) == (seed, 1)


def test_a_seed_that_was_set_by_hand_stays(tmp_path):
    made = trainer(tmp_path, steps=1, arguments={"seed": 11}.items())
    mask_schedule(made.model).reseed(5)
    made.train()
    assert mask_schedule(made.model).seed == 5


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_sees_the_same_masks(reentrant, tmp_path):
    plain = trained(tmp_path, name="llama", samples=2)
    # Before 5.23 transformers knows it by its older name alone.
    known = TrainingArguments.__dataclass_fields__
    name = "activation" if "activation_checkpointing" in known else "gradient"
    checkpointing = {
        f"{name}_checkpointing": True,
        f"{name}_checkpointing_kwargs": {"use_reentrant": reentrant},
    }
    assert_same(plain, trained(tmp_path, name="llama", samples=2, arguments=checkpointing.items()))


def test_own_masks_differ_between_parts_of_a_batch(tmp_path):
    whole = trained(tmp_path, own_masks=True)
    parts = trained(tmp_path, own_masks=True, batch=2, accumulate=4)
    assert losses(whole) == pytest.approx(losses(trained(tmp_path)), rel=ROUNDING)
    assert losses(parts)[0] != pytest.approx(losses(whole)[0], rel=1e-3)


def test_parts_are_counted_anew_where_a_step_begins_again(tmp_path):
    """As where the first batch was too large for the memory, and a smaller one is found."""
    size = 7
    expected = trained(tmp_path, own_masks=True, batch=size, steps=2)
    found = trainer(
        tmp_path, own_masks=True, batch=8, steps=2, arguments={"auto_find_batch_size": True}.items()
    )
    compute = found.compute_loss

    def too_large(model, inputs, *args, **kwargs):
        loss = compute(model, inputs, *args, **kwargs)
        if model.training and len(inputs["input_ids"]) > size:
            raise RuntimeError("CUDA out of memory.")
        return loss

    found.compute_loss = too_large
    found.train()
    assert_same(expected, found)


def test_bfloat16_autocast_trains(tmp_path):
    exact, rough = trained(tmp_path), trained(tmp_path, arguments={"bf16": True}.items())
    assert losses(rough)[0] == pytest.approx(losses(exact)[0], rel=0.05)
    assert losses(rough) != losses(exact)


def test_ranks_are_allocated_in_the_trainer(tmp_path):
    made = trained(tmp_path, config="adalora", steps=12)
    values = [
        value for name, value in made.model.named_parameters() if name.endswith("lora_E.default")
    ]
    assert {len(value) for value in values} == {6}
    kept = sum(int((value != 0).sum()) for value in values)
    assert kept == 3 * len(values)
    assert mask_schedule(made.model).step == 12


@pytest.mark.parametrize(
    ("name", "average"),
    [("bert", "logits"), ("llama", "logits"), ("deberta", "logits"), ("bert", "probabilities")],
)
def test_evaluation_averages_the_logits_of_the_members(name, average, tmp_path):
    """Or their probabilities, of which it then takes the logarithm."""
    made = trainer(tmp_path, name=name, ensemble=5, average=average)
    found = made.predict(made.eval_dataset)
    rows = [made.eval_dataset[row] for row in range(16)]
    batch = {key: torch.stack([row[key] for row in rows]) for key in rows[0]}
    with torch.no_grad():
        asked = Ensemble(made.model, 5, lambda result: result.logits, average=average)
        expected = asked(**batch)
    torch.testing.assert_close(torch.from_numpy(found.predictions), expected, rtol=1e-4, atol=1e-5)
    if name != "llama":
        loss = torch.nn.functional.cross_entropy(expected, batch["labels"])
        assert found.metrics["test_loss"] == pytest.approx(float(loss), rel=1e-4)


def test_the_loss_of_a_span_is_that_of_averaged_logits(tmp_path):
    from tests.lora_dropout.peft.models import bert_qa, lora

    model = randomize(get_peft_model(bert_qa(), lora(["query", "value"], "QUESTION_ANS"))).eval()
    batch = {key: value for key, value in batch_for("bert").items() if key != "labels"}
    where = {"start_positions": torch.tensor([1, 2, 3, 4]), "end_positions": torch.tensor([2] * 4)}
    total = {"start": 0.0, "end": 0.0}
    with torch.no_grad():
        for _ in members(model, 4):
            output = model(**batch)
            total = {name: total[name] + output[f"{name}_logits"] / 4 for name in total}
        with averaging(model, model, 4):
            found = model(**batch, **where)
    expected = sum(
        torch.nn.functional.cross_entropy(total[name], where[f"{name}_positions"]) for name in total
    )
    assert float(found.loss) == pytest.approx(float(expected / 2), rel=1e-5)


WIDTHS = {name: size for name, size in SIZES.items() if name != "vocab_size"}


def vit():
    return transformers.ViTForImageClassification(transformers.ViTConfig(
        **WIDTHS, image_size=8, patch_size=4, num_labels=3))  # fmt: skip


def t5():
    return transformers.T5ForConditionalGeneration(transformers.T5Config(
        vocab_size=WORDS, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2,
        decoder_start_token_id=0))  # fmt: skip


def t5_classes():
    return transformers.T5ForSequenceClassification(transformers.T5Config(
        vocab_size=WORDS, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2,
        decoder_start_token_id=0, num_labels=3))  # fmt: skip


def bart():
    return transformers.BartForConditionalGeneration(transformers.BartConfig(
        vocab_size=WORDS, d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=24,
        decoder_ffn_dim=24, max_position_embeddings=32))  # fmt: skip


def choices():
    return transformers.BertForMultipleChoice(transformers.BertConfig(**SIZES))


def gpt2():
    return transformers.GPT2ForSequenceClassification(transformers.GPT2Config(
        vocab_size=WORDS, n_embd=16, n_layer=1, n_head=2, n_positions=32, pad_token_id=0,
        num_labels=3))  # fmt: skip


def gemma2():
    return transformers.Gemma2ForCausalLM(transformers.Gemma2Config(
        **SIZES, num_key_value_heads=2, head_dim=8, final_logit_softcapping=2.0,
        pad_token_id=0))  # fmt: skip


def tokens(*shape):
    return torch.randint(3, WORDS, shape, generator=torch.Generator().manual_seed(5))


#: Models that compute their loss in ways of their own: what is adapted, the inputs, and the loss.
OWN_LOSS = {
    vit: (["q_proj", "v_proj"], {"pixel_values": torch.ones(3, 3, 8, 8).cumsum(-1)},
          torch.tensor([0, 2, 1])),
    t5: (["q", "v"], {"input_ids": tokens(3, 6)}, tokens(3, 5)),
    t5_classes: (["q", "v"], {"input_ids": torch.tensor([[5, 1, 0], [7, 9, 1], [8, 2, 1]])},
                 torch.tensor([0, 2, 1])),
    bart: (["q_proj", "v_proj"], {"input_ids": tokens(3, 6)}, tokens(3, 5)),
    choices: (["query"], {"input_ids": tokens(3, 2, 6)}, torch.tensor([0, 1, 1])),
    gpt2: (["c_attn"], {"input_ids": tokens(3, 6)}, torch.tensor([0, 2, 1])),
    gemma2: (["q_proj"], {"input_ids": tokens(3, 6)}, tokens(3, 6)),
}  # fmt: skip


@pytest.mark.parametrize("kind", OWN_LOSS, ids=lambda kind: kind.__name__)
def test_the_loss_of_averaged_logits_is_that_of_the_model_itself(kind):
    """By cross-entropy over all tokens, as these models compute it, or over the next tokens."""
    targets, inputs, labels = OWN_LOSS[kind]
    torch.manual_seed(0)
    config = LoraDropoutConfig(r=2, target_modules=targets, dropout_rate=0.5)
    model = randomize(get_peft_model(kind(), config)).eval()
    with torch.no_grad():
        logits = sum(model(**inputs, labels=labels).logits for _ in members(model, 4)) / 4
        with averaging(model, model, 4):
            found = model(**inputs, labels=labels)
    torch.testing.assert_close(found.logits, logits)
    if kind is gemma2:
        logits, labels = logits[:, :-1], labels[:, 1:]
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten())
    assert float(found.loss) == pytest.approx(float(expected), rel=1e-5)
    assert "forward" not in vars(model)


class Seq2Seq(LoraDropoutTrainerMixin, transformers.Seq2SeqTrainer):
    pass


def translator(folder, arguments=(), **options):
    """A trainer of a T5, and its examples."""
    torch.manual_seed(0)
    config = LoraDropoutConfig(r=2, target_modules=["q", "v"], dropout_rate=0.5)
    config.task_type = "SEQ_2_SEQ_LM"
    model = randomize(get_peft_model(t5(), config)).eval()
    rows = [{"input_ids": row, "labels": row} for row in tokens(4, 6)]
    settings = {"report_to": [], "use_cpu": True, "disable_tqdm": True, "max_steps": 1}
    settings |= {"predict_with_generate": True, "generation_max_length": 5, **dict(arguments)}
    arguments = transformers.Seq2SeqTrainingArguments(str(folder), **settings)
    return Seq2Seq(model, arguments, train_dataset=rows, eval_dataset=rows, **options), rows


def noting(scores):
    """What generation asks with the scores of each next word; they are put into a list."""

    def note(words, of_next):
        scores.append(of_next.clone())
        return of_next

    return note


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_a_trainer_that_generates_asks_the_ensemble(average, tmp_path):
    made, rows = translator(tmp_path, ensemble=3, average=average)
    model, scores, of_trainer = made.model, [], []
    found = made.predict(rows, logits_processor=[noting(of_trainer)])
    with ensemble_generation(model, 3, average):
        expected = model.generate(
            input_ids=tokens(4, 6), max_length=5, logits_processor=[noting(scores)]
        )
    assert found.predictions[:, :5].tolist() == expected.tolist()
    assert len(of_trainer) == 4
    # Words alone would not tell: either average may choose the same.
    torch.testing.assert_close(torch.stack(of_trainer), torch.stack(scores))
    with torch.no_grad(), averaging(model, model, 3, average):
        loss = model(input_ids=tokens(4, 6), labels=tokens(4, 6)).loss
    assert found.metrics["test_loss"] == pytest.approx(float(loss), rel=1e-5)


def of_words(output, labels, num_items_in_batch=None):
    """A loss of one's own, which the trainer asks with labels that the model has not seen."""
    return torch.nn.functional.cross_entropy(output["logits"].flatten(0, 1), labels.flatten())


OWN = {
    "compute_loss_func": ({}, {"compute_loss_func": of_words}),
    "label smoothing": ({"label_smoothing_factor": 0.2}, {}),
}


@pytest.mark.parametrize("own", OWN)
def test_a_decoder_without_inputs_is_named_before_training(own, tmp_path):
    arguments, options = OWN[own]
    made, _ = translator(tmp_path, arguments.items(), ensemble=2, **options)
    before = factors(made)
    message = f"^{own} takes the labels, of which T5ForConditionalGeneration makes what it decodes"
    with pytest.raises(ValueError, match=message):
        made.train()
    assert all(torch.equal(value, before[key]) for key, value in factors(made).items())


def test_a_loss_of_ones_own_is_that_of_averaged_logits_where_the_decoder_has_inputs(tmp_path):
    """As ``DataCollatorForSeq2Seq`` makes them, if it is given the model."""
    made, rows = translator(tmp_path, ensemble=3, compute_loss_func=of_words)
    labels = tokens(4, 6)
    decoded = made.model.get_base_model().prepare_decoder_input_ids_from_labels(labels=labels)
    for row, given in zip(rows, decoded, strict=True):
        row["decoder_input_ids"] = given
    with torch.no_grad(), averaging(made.model, made.model, 3):
        output = made.model(input_ids=labels, decoder_input_ids=decoded)
    assert made.evaluate()["eval_loss"] == pytest.approx(float(of_words(output, labels)), rel=1e-5)


def test_what_trl_asks_for_in_place_of_logits_is_that_of_averaged_ones():
    """TRL's own models take the argument; the average answers for them."""
    model = adapted("llama", p=0.5).eval()
    inputs, labels = {"input_ids": tokens(3, 6)}, tokens(3, 6)
    labels[0, :4] = -100
    with torch.no_grad():
        logits = sum(model(**inputs).logits for _ in members(model, 4)) / 4
        with averaging(model, model, 4):
            found = model(**inputs, labels=labels, fused_lm_head=True)
    logits, labels = logits[:, :-1], labels[:, 1:]
    counted = labels != -100
    expected = torch.nn.functional.cross_entropy(logits[counted], labels[counted])
    assert torch.equal(found.label_mask, counted)
    assert float(-found.log_probs.sum() / counted.sum()) == pytest.approx(float(expected), rel=1e-5)
    assert float(found.is_top1.sum()) == float((logits.argmax(-1) == labels)[counted].sum())
    entropy = torch.distributions.Categorical(logits=logits[counted]).entropy().sum()
    assert float(found.entropy.sum()) == pytest.approx(float(entropy), rel=1e-5)


def test_a_loss_that_is_not_one_of_the_logits_is_refused():
    """Here of what a layer before them returned, of which the logits are no affine function."""
    model = adapted().eval()
    base = model.get_base_model()
    inner = base.forward

    def forward(*args, **inputs):
        output = inner(*args, **inputs)
        output["loss"] = output["loss"] + output["logits"].square().mean()
        output["logits"] = output["logits"].tanh()
        return output

    base.forward = forward
    with pytest.raises(ValueError, match="its loss in its own way"), averaging(model, model, 2):
        model(**batch_for("bert"))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_ensemble_of_a_network_without_masks_has_its_loss(smoothing, tmp_path):
    """The trainer shifts the labels of a language model, and so has to see that it is one."""
    arguments = {"label_smoothing_factor": smoothing}.items()
    one, many = (
        trainer(tmp_path, name="llama", p=1e-7, ensemble=count, arguments=arguments)
        for count in (0, 3)
    )
    assert many.evaluate()["eval_loss"] == pytest.approx(one.evaluate()["eval_loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ensemble": 2, "average": "odds"}, "average must be one of"),
        ({"average": "probabilities"}, "'probabilities' needs an ensemble of at least 1 member"),
    ],
)
def test_bad_averages_are_named(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        trainer(tmp_path, **options)


@pytest.mark.parametrize(("option", "value"), [("samples", 0), ("ensemble", -1)])
def test_bad_numbers_are_named(option, value, tmp_path):
    with pytest.raises(ValueError, match=f"{option} must be at least"):
        trainer(tmp_path, **{option: value})


@pytest.mark.parametrize("option", ["grouped", "own_masks"])
def test_a_setting_that_is_neither_on_nor_off_is_named(option, tmp_path):
    with pytest.raises(ValueError, match=f"{option} must be true or false, got 'no'"):
        trainer(tmp_path, **{option: "no"})


def test_adalora_is_refused_where_no_process_holds_a_matrix(tmp_path, monkeypatch):
    sharded = property(lambda accelerator: DistributedType.FSDP)
    monkeypatch.setattr(Accelerator, "distributed_type", sharded)
    assert trainer(tmp_path)
    with pytest.raises(ValueError, match="of which FSDP gives each process a part"):
        trainer(tmp_path, config="adalora")


#: Trainings of two processes, by what they are.
TOGETHER = {
    "bert": {"name": "bert"},
    "llama, 2 passes": {"name": "llama", "samples": 2},
    "bert, group of 2": {"name": "bert", "samples": 2, "grouped": True},
    "own masks": {"name": "bert", "own_masks": True},
    "evaluated first": {"name": "llama", "first": "evaluate"},
    "predicted first": {"name": "bert", "first": "predict"},
    "no labels in the first process": {"name": "llama", "masked": 4},
    "a group that one process refuses": {
        "name": "bert", "samples": 2, "grouped": True, "refusing": True,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What all of them gave, in one start of two processes."""
    folder = tmp_path_factory.mktemp("two")
    asked = {name: settings | {"batch": 4} for name, settings in TOGETHER.items()}
    two_processes(
        "tests.lora_dropout.peft.training", str(folder), json.dumps(asked), cwd=ROOT, path=ROOT
    )
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in TOGETHER}


@pytest.mark.parametrize("name", [name for name in TOGETHER if name != "own masks"])
def test_two_processes_train_as_one(name, together, tmp_path):
    alone = trained(tmp_path, **TOGETHER[name])
    assert together[name]["losses"] == pytest.approx(losses(alone), rel=1e-4)
    expected = sum(float(value.sum()) for value in factors(alone).values())
    assert together[name]["sum"] == pytest.approx(expected, rel=1e-3)


def test_own_masks_differ_between_processes(together):
    own, shared = together["own masks"], together["bert"]
    assert own["losses"][0] != pytest.approx(shared["losses"][0], rel=1e-3)


def test_accelerate_accumulates_with_one_mask_a_step():
    found = []
    for parts in (1, 4):
        accelerator = Accelerator(cpu=True, gradient_accumulation_steps=parts)
        model = adapted(p=0.5).train()
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        model, optimizer = accelerator.prepare(model, optimizer)
        batch = batch_for("bert", rows=8)
        for _ in range(3):
            for part in range(parts):
                rows = slice(part * 8 // parts, (part + 1) * 8 // parts)
                with accelerator.accumulate(model):
                    loss = model(**{key: value[rows] for key, value in batch.items()}).loss
                    accelerator.backward(loss)
                    optimizer.step()
                    optimizer.zero_grad()
        assert mask_schedule(accelerator.unwrap_model(model)).step == 3
        found.append(
            torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])
        )
        Accelerator().free_memory()
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-5)


def test_the_plain_trainer_advances_the_masks_too(tmp_path):
    model = adapted()
    arguments = TrainingArguments(str(tmp_path), max_steps=3, report_to=[], use_cpu=True,
                                  save_strategy="no", disable_tqdm=True)  # fmt: skip
    Trainer(model, arguments, train_dataset=Rows("bert")).train()
    assert mask_schedule(model).step == 3


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_without_options_it_trains_and_evaluates_as_transformers_own_trainer(name, tmp_path):
    """To the bit: who puts it in the place of a trainer gets masks by step, and nothing else."""
    found = []
    for kind in (Trainer, LoraDropoutTrainer):
        made = trained(tmp_path, name=name, kind=kind, mask_seed=0)
        loss = made.evaluate()["eval_loss"]
        found.append((losses(made), loss, mask_schedule(made.model).step, factors(made)))
    (*numbers, expected), (*others, values) = found
    assert numbers == others
    assert len(set(numbers[0])) == 4
    assert values.keys() == expected.keys()
    assert all(torch.equal(values[key], expected[key]) for key in expected)


class Own(Trainer):
    def compute_loss(self, *args, **kwargs):
        return 3 * super().compute_loss(*args, **kwargs)


class OwnWithDropout(LoraDropoutTrainerMixin, Own):
    pass


class InPlaceOfOurs(LoraDropoutTrainer):
    """With the signature that most have: what transformers adds comes by its name."""

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        output = model(**inputs)
        return (3 * output.loss, output) if return_outputs else 3 * output.loss


@pytest.mark.parametrize("kind", [OwnWithDropout, InPlaceOfOurs])
@pytest.mark.parametrize("grouped", [False, True])
def test_a_trainer_of_ones_own_keeps_its_loss(kind, grouped, tmp_path):
    # The factor would change the second step's loss by way of the first one's gradient.
    plain = trained(tmp_path, steps=1, samples=2)
    own = trained(tmp_path, steps=1, samples=2, grouped=grouped, kind=kind)
    assert losses(own) == pytest.approx([3 * loss for loss in losses(plain)], rel=ROUNDING)


def test_a_step_of_ones_own_takes_no_samples_without_a_word(tmp_path):
    class Step(LoraDropoutTrainer):
        def training_step(self, model, inputs, num_items_in_batch=None):
            loss = self.compute_loss(model.train(), inputs)
            loss.backward()
            return loss.detach()

    trained(tmp_path, steps=1, kind=Step)
    with pytest.raises(ValueError, match=r"training_step of Step .* take samples=1"):
        trained(tmp_path, steps=1, samples=2, kind=Step)


@pytest.mark.parametrize("parts", [1, 4])
def test_a_loss_of_ones_own_counts_adaloras_regularizer_once(parts, tmp_path):
    """Whether the class comes before this package's or after it."""
    settings = {"config": "adalora", "batch": 8 // parts, "accumulate": parts, "steps": 2}
    one, other = (
        trained(tmp_path, kind=kind, **settings) for kind in (OwnWithDropout, InPlaceOfOurs)
    )
    assert_same(one, other)


@pytest.mark.parametrize("parts", [1, 2])
def test_gradients_are_complete_with_the_last_pass_of_a_step_alone(parts, tmp_path):
    """DeepSpeed takes its step as soon as they are: it took one a sample."""
    made = trainer(tmp_path, samples=2, steps=2, batch=8 // parts, accumulate=parts)
    complete, backward = [], made.accelerator.backward

    def noted(*args, **kwargs):
        complete.append(made.accelerator.sync_gradients)
        backward(*args, **kwargs)

    made.accelerator.backward = noted
    made.train()
    assert complete == [*[False] * (2 * parts - 1), True] * 2
