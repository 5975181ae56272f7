"""Masks by optimizer step in the Trainer; N samples as passes and as one group; the ensemble."""

import json
from pathlib import Path

import pytest
import torch
from transformers import Trainer, TrainingArguments

from lora_dropout import Ensemble, mask_schedule, members
from lora_dropout.peft import LoraDropoutTrainer, LoraDropoutTrainerMixin
from tests.lora_dropout.peft.models import adapted, batch_for
from tests.lora_dropout.peft.training import Rows, factors, losses, trainer
from tests.torchrun import two_processes

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
#: Relative; the losses and factors are sums in float32, taken in another order.
ROUNDING = 2e-5


def assert_same(one, other):
    assert losses(one) == pytest.approx(losses(other), rel=ROUNDING)
    assert_same_factors(one, other)


def trained(folder, **settings):
    made = trainer(folder, **settings)
    made.train()
    return made


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


@pytest.mark.parametrize("samples", [1, 2])
def test_adalora_counts_its_regularizer_once_however_a_batch_is_split(samples, tmp_path):
    """Also where the loss is a sum over the parts, as that of a language model."""
    settings = {"name": "llama", "config": "adalora", "samples": samples}
    whole = trained(tmp_path, **settings)
    assert_same(whole, trained(tmp_path, batch=2, accumulate=4, **settings))


@pytest.mark.parametrize(("given", "expected"), [(None, 11), (3, 3)])
def test_several_seeds_are_several_masks(given, expected, tmp_path):
    made = trainer(tmp_path, arguments={"seed": 11}.items(), mask_seed=given)
    assert mask_schedule(made.model).seed == expected


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


@pytest.mark.parametrize("name", ["bert", "llama", "deberta"])
def test_evaluation_averages_the_logits_of_the_members(name, tmp_path):
    made = trainer(tmp_path, name=name, ensemble=5)
    found = made.predict(made.eval_dataset)
    rows = [made.eval_dataset[row] for row in range(16)]
    batch = {key: torch.stack([row[key] for row in rows]) for key in rows[0]}
    with torch.no_grad():
        expected = Ensemble(made.model, 5, lambda result: result.logits)(**batch)
    torch.testing.assert_close(torch.from_numpy(found.predictions), expected, rtol=1e-4, atol=1e-5)
    if name != "llama":
        loss = torch.nn.functional.cross_entropy(expected, batch["labels"])
        assert found.metrics["test_loss"] == pytest.approx(float(loss), rel=1e-4)


def test_the_loss_of_a_span_is_that_of_averaged_logits(tmp_path):
    from peft import get_peft_model

    from lora_dropout.peft.averaging import Averaged
    from tests.lora_dropout.peft.models import bert_qa, lora, randomize

    model = randomize(get_peft_model(bert_qa(), lora(["query", "value"], "QUESTION_ANS"))).eval()
    batch = {key: value for key, value in batch_for("bert").items() if key != "labels"}
    where = {"start_positions": torch.tensor([1, 2, 3, 4]), "end_positions": torch.tensor([2] * 4)}
    total = {"start": 0.0, "end": 0.0}
    with torch.no_grad():
        for _ in members(model, 4):
            output = model(**batch)
            total = {name: total[name] + output[f"{name}_logits"] / 4 for name in total}
        found = Averaged(model, model, 4)(**batch, **where)
    expected = sum(
        torch.nn.functional.cross_entropy(total[name], where[f"{name}_positions"]) for name in total
    )
    assert float(found.loss) == pytest.approx(float(expected / 2), rel=1e-5)


def test_a_loss_that_is_not_transformers_own_is_refused():
    from lora_dropout.peft.averaging import Averaged

    model = adapted().eval()
    base = model.get_base_model()
    base.loss_function = lambda **known: torch.tensor(7.0)
    with pytest.raises(ValueError, match="its loss in its own way"):
        Averaged(model, model, 2)(**batch_for("bert"))


@pytest.mark.parametrize(("option", "value"), [("samples", 0), ("ensemble", -1)])
def test_bad_numbers_are_named(option, value, tmp_path):
    with pytest.raises(ValueError, match=f"{option} must be at least"):
        trainer(tmp_path, **{option: value})


def torchrun(folder, **settings):
    folder.mkdir()
    two_processes(
        "tests.lora_dropout.peft.training", str(folder), json.dumps(settings), cwd=ROOT, path=ROOT
    )
    return json.loads((folder / "result.json").read_text())


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "bert"},
        {"name": "llama", "samples": 2},
        {"name": "bert", "samples": 2, "grouped": True},
    ],
    ids=["bert", "llama, 2 passes", "bert, group of 2"],
)  # fmt: skip
def test_two_processes_train_as_one(settings, tmp_path):
    alone = trained(tmp_path, **settings)
    together = torchrun(tmp_path / "two", batch=4, **settings)
    assert together["losses"] == pytest.approx(losses(alone), rel=1e-4)
    expected = sum(float(value.sum()) for value in factors(alone).values())
    assert together["sum"] == pytest.approx(expected, rel=1e-3)


def test_own_masks_differ_between_processes(tmp_path):
    shared = torchrun(tmp_path / "shared", batch=4)
    own = torchrun(tmp_path / "own", batch=4, own_masks=True)
    assert own["losses"][0] != pytest.approx(shared["losses"][0], rel=1e-3)


def test_accelerate_accumulates_with_one_mask_a_step():
    from accelerate import Accelerator

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
        made = trained(tmp_path, name=name, kind=kind)
        loss = made.evaluate()["eval_loss"]
        found.append((losses(made), loss, mask_schedule(made.model).step, factors(made)))
    (*numbers, expected), (*others, values) = found
    assert numbers == others
    assert len(set(numbers[0])) == 4
    assert values.keys() == expected.keys()
    assert all(torch.equal(values[key], expected[key]) for key in expected)


def test_a_trainer_of_ones_own_keeps_its_loss(tmp_path):
    class Own(Trainer):
        def compute_loss(self, *args, **kwargs):
            return 3 * super().compute_loss(*args, **kwargs)

    class OwnWithDropout(LoraDropoutTrainerMixin, Own):
        pass

    # The factor would change the second step's loss by way of the first one's gradient.
    plain = trained(tmp_path, steps=1, samples=2)
    own = trained(tmp_path, steps=1, samples=2, kind=OwnWithDropout)
    assert losses(own) == pytest.approx([3 * loss for loss in losses(plain)], rel=ROUNDING)
