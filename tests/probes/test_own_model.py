"""A model of one's own gives the numbers of the fast path where both can measure it."""

import threading

import numpy as np
import pandas as pd
import pytest
import torch
from peft import get_peft_model
from torch import nn

from lora_dropout import inject
from lora_dropout.injection import adapted_layers
from lora_dropout.peft import AdaLoraDropoutConfig, LoraDropoutConfig
from probes import own_model
from probes.cells.cell import seeds_of
from probes.jobs.job import TableKind
from probes.own_model import OwnModel
from probes.recommend import RecommendSettings
from probes.stability import measure
from probes.tasks import load_task
from probes.training.example_weights import full_sample
from probes.training.own_training import OwnSample, adapted, train_own
from probes.training.rivals import Rival
from tests.probes.commands import assert_refused, run_here, run_probe
from tests.probes.training.modules import as_modules

pytestmark = pytest.mark.slow


def digits_model(**changes):
    """The network of the task ``digits`` as plain modules."""
    task = load_task("digits")
    settings = {
        "features": task.features, "targets": task.targets.argmax(1), "rank": 8, "steps": 15,
        "lr": task.lr,
        "loss": lambda z, y: nn.functional.cross_entropy(z, y, reduction="none"),
        "score": lambda z, y: (z.argmax(1) == y).double(),
    }  # fmt: skip
    return OwnModel(as_modules(task.weights, task.biases), **(settings | changes))


def test_it_measures_what_the_fast_path_measures():
    slow = own_model.measure(own=digits_model(), p=[0.0, 0.4], n=6, draws=2, ensemble=[3], seed=5)
    fast = measure(
        p=[0.0, 0.4], n=6, draws=2, ensemble=3, steps=15, seed=5, dtype="float64"
    ).table  # fmt: skip
    keys = ["p", "ensemble", "draw"]
    slow_table, fast_table = (table.set_index(keys).sort_index() for table in (slow.rows, fast))
    assert len(slow_table) == 8
    for name in ("train_loss", "test_loss", "gap", "beta", "beta_signed", "test_score"):
        expected = fast_table.loc[slow_table.index, name].tolist()
        assert slow_table[name].tolist() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_the_model_stays_as_it_is():
    own = digits_model(steps=2)
    before = {name: value.clone() for name, value in own.model.state_dict().items()}
    own_model.measure(own=own, p=0.3, n=3, draws=1)
    after = own.model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(parameter.requires_grad for parameter in own.model.parameters())


def small(*middle, features=None, **changes):
    """Twelve examples of six features, and a network whose middle is given."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), *middle, nn.ReLU(), nn.Linear(8, 2))
    features = torch.randn(12, 6, generator=generator) if features is None else features
    settings = {"rank": 2, "steps": 10, "lr": 1e-2} | changes
    targets = (features[:, 0] > 0).long()
    return OwnModel(model, features, targets, cross_entropy, **settings)


def cross_entropy(outputs, targets):
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def trained(own, p, sample):
    return train_own(own, Rival("LoRA Dropout", p), sample)


def betas_one_by_one(own, p, n):
    """Retrain without each example, which is not there at all: the definition, spelled out."""
    seeds = seeds_of(0, 0)
    order = np.random.default_rng(seeds[0]).permutation(len(own.features))
    chosen = torch.from_numpy(order)[:n]

    def loss_of(model, example):
        with torch.no_grad():
            return own.loss(model(own.features[example]), own.targets[example]).item()

    whole = trained(own, p, OwnSample(chosen, full_sample(n)[0], seeds))
    changes = []
    for number in range(n):
        rest = torch.cat([chosen[:number], chosen[number + 1 :]])
        without = trained(own, p, OwnSample(rest, full_sample(n - 1)[0], seeds))
        one = chosen[number : number + 1]
        changes.append(abs(loss_of(without, one) - loss_of(whole, one)))
    return np.mean(changes)


class MovingAverage(nn.Module):
    """Takes down a statistic of its batch, which the next pass reads."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x):
        centred = x - self.mean
        if self.training:
            self.mean = 0.5 * self.mean + 0.5 * x.detach().mean(0)
        return centred


#: Trains by the statistics of each example, and takes down those of the batch for evaluation.
READ_LATER = [
    nn.Unflatten(1, (2, 4)), nn.InstanceNorm1d(2, track_running_stats=True), nn.Flatten(),
]  # fmt: skip


@pytest.mark.parametrize("middle", [[], [nn.BatchNorm1d(8)], [MovingAverage()], READ_LATER])
def test_what_is_left_out_is_in_no_statistic_of_the_batch(middle):
    own = small(*middle)
    rows = own_model.measure(own=own, p=0.1, n=5, draws=1).rows
    assert rows["beta"].item() == pytest.approx(betas_one_by_one(own, 0.1, 5), rel=1e-4)


def test_a_model_with_dropout_gives_the_same_rows_again_and_leaves_the_generator_alone():
    own = small(nn.Dropout(0.5), noise=True)
    state = torch.get_rng_state()
    first, again = (own_model.measure(own=own, p=0.1, n=4, draws=2).rows for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    assert torch.equal(state, torch.get_rng_state())
    other = own_model.measure(own=own, p=0.1, n=4, draws=2, seed=1).rows
    assert (other["beta"] != first["beta"]).all()


def test_leaving_out_one_of_equal_examples_changes_nothing():
    same = torch.ones(12, 6)
    rows = own_model.measure(own=small(features=same), p=0.3, n=4, draws=1).rows
    assert rows["beta"].item() < 1e-6
    with pytest.raises(ValueError, match="without random numbers of its own"):
        own_model.measure(own=small(nn.Dropout(0.5), features=same), p=0.3, n=4, draws=1)


def test_differences_are_paired():
    result = own_model.measure(own=digits_model(steps=3), p=[0.0, 0.5], n=4, draws=3)
    losses = result.rows.pivot_table(index="draw", columns="p", values="test_loss")
    mean, low, high = result.difference((0.5, 0), (0.0, 0))
    assert mean == pytest.approx((losses[0.5] - losses[0.0]).mean())
    assert low < mean < high


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"p": 1.0, "n": 4}, "p must be in"),
        ({"p": [], "n": 4}, "p must be at least one rate; got none"),
        ({"p": 0.1, "n": 1797}, "n must be from 2 to 1796; got 1797"),
        ({"p": 0.1, "n": 1}, "n must be from 2"),
        ({"p": 0.1, "n": 4, "seed": 10**27}, "seed must be from 0"),
        ({"p": 0.1, "n": 4, "draws": 0}, "draws must be at least 1"),
        ({"p": 0.1, "n": 4, "ensemble": [0]}, "ensemble must be at least 1"),
    ],
)
def test_bad_values_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        own_model.measure(own=digits_model(), **settings)


def test_a_cell_is_a_rate_and_a_draw_and_tells_its_work():
    settings = own_model.OwnModelSettings(own=small(), p=(0.3, 0, 0.3), n=2, draws=2, seed=5)
    cells = settings.cells()
    assert [(one.p, one.draw) for one in cells] == [(0.3, 0), (0.3, 1), (0.0, 0), (0.0, 1)]
    told = []
    row = own_model.measure_cell(cells[1], told.append)[TableKind.ROWS].iloc[0]
    assert sum(told) == cells[1].replica_steps == 3
    known = {"p": 0.3, "draw": 1, "task": "Sequential", "n": 2, "pool": 12, "rank": 2, "steps": 10}
    assert row[list(known)].to_dict() == known


def test_a_model_that_diverges_has_no_score():
    own = small(lr=1e30, score=lambda z, y: (z.argmax(1) == y).double())
    row = own_model.measure(own=own, p=0.0, n=3, draws=1).rows.iloc[0]
    assert not np.isfinite(row["test_loss"])
    assert np.isnan(row["test_score"])


def test_layers_are_said_of_a_model_that_is_adapted_here_alone(capsys):
    for adapt in (None, of_peft(target_modules=["0"])):
        own_model.OwnModelSettings(own=small(rank=8, adapt=adapt), p=(0.1,), n=4).cells()
        assert ("2 in layer 2" in capsys.readouterr().err) == (adapt is None)


def test_a_model_that_cannot_be_copied_is_one_line():
    given = small()
    given.model.lock = threading.Lock()
    with pytest.raises(ValueError, match=r"a copy of own\.model fails: TypeError: cannot pickle"):
        own_model.measure(own=given, p=0.1, n=4, draws=1)


def test_a_layer_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="matches no"):
        own_model.measure(own=digits_model(target="query"), p=0.1, n=4, draws=1)


OWN = """
import torch
from torch import nn
from probes.jobs.job import TableKind
from probes.own_model import OwnModel

def own():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(20, 3, generator=generator)
    model = nn.Linear(3, 1)
    loss = lambda outputs, targets: (outputs[:, 0] - targets) ** 2
    return OwnModel(nn.Sequential(model), features, features[:, 0], loss, rank=1, steps=2)

def mean():
    own_model = own()
    return OwnModel(own_model.model, own_model.features, own_model.targets, nn.MSELoss(), rank=1)

number = 3
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    return path


def test_the_command_line_takes_a_model_from_a_file(file, tmp_path):
    arguments = ["--p", "0.5", "--n", "4", "--draws", "2", "--ensemble", "2", "--out", "here"]
    done = run_probe("own_model", "--own", f"{file}:own", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Sequential, n = 4" in done.stdout
    rows = pd.read_parquet(tmp_path / "here/rows.parquet")
    assert rows[["draw", "ensemble"]].values.tolist() == [[0, 0], [0, 2], [1, 0], [1, 2]]
    assert (tmp_path / "here/own_model.png").read_bytes().startswith(b"\x89PNG")


def test_what_ctrl_c_loses_is_said_to_be_lost(file, monkeypatch, tmp_path):
    trained = []

    def stop_in_the_second_cell(*arguments):
        trained.append(arguments)
        if len(trained) == 7:
            raise KeyboardInterrupt
        return train_own(*arguments)

    monkeypatch.setattr(own_model, "train_own", stop_in_the_second_cell)
    arguments = ["--p", "0.5", "--n", "4", "--draws", "2", "--out", "here"]
    done = run_here("own_model", "--own", f"{file}:own", *arguments, cwd=tmp_path)
    assert done.returncode == 130
    assert not list(tmp_path.glob("here/cells/*"))
    line = "interrupted: 1 of 2 cells are done, and not kept; the same command starts again"
    assert done.stderr.strip().splitlines()[-1] == line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--own", "nothing.py:own"], ["own must be an OwnModel, or FILE.py:NAME", "nothing.py"]),
        (["--own", "mine.py:nothing"], ["own must be an OwnModel, or a function that makes one"]),
        (["--own", "mine.py:number"], ["own must be an OwnModel, or a function that makes one"]),
        (["--own", "mine.py:mean", "--n", "4"], ["own.loss must be a loss an example"]),
        (["--own", "mine.py:own", "--n", "20"], ["n must be from 2 to 19", "20"]),
        (["--own", "mine.py:own", "--n", "4", "--p", "1"], ["p must be in [0, 1)"]),
        ([], ["own must be given"]),
    ],
)
def test_a_model_that_is_none_is_refused(arguments, words, file, tmp_path):
    assert_refused("own_model", arguments, words, tmp_path)


def of_peft(config=LoraDropoutConfig, **settings):
    def adapt(model, p, seed):
        ranks = {"init_r": 2, "target_r": 1, "total_step": 99}
        ranks = ranks if config is AdaLoraDropoutConfig else {"r": 2}
        given = config(dropout_rate=p, mask_seed=seed, lora_alpha=2, **ranks, **settings)
        return get_peft_model(model, given)

    return adapt


def test_an_adapter_of_peft_gives_the_numbers_of_inject():
    ours, theirs = (
        own_model.measure(own=small(adapt=adapt), p=[0.0, 0.4], n=4, draws=1, ensemble=[2])
        for adapt in (None, of_peft(target_modules=["0", "2"]))
    )
    pd.testing.assert_frame_equal(ours.rows, theirs.rows.assign(task="Sequential"))


def words():
    layers = (nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2))
    return layers, torch.arange(36).reshape(12, 3) % 9, ["0"]


def pictures():
    layers = (nn.Conv2d(1, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(12, 2))
    return layers, torch.linspace(-1, 1, 108).reshape(12, 1, 3, 3).sin(), ["0", "3"]


@pytest.mark.parametrize("data", [words, pictures])
def test_masks_on_embeddings_and_convolutions_are_measured(data):
    """Their first factors are not a rank's rows of d_in columns of which one could be drawn."""
    layers, features, targets = data()
    own = OwnModel(
        nn.Sequential(*layers), features, torch.arange(12) % 2, cross_entropy, steps=5, lr=3e-2,
        adapt=of_peft(target_modules=targets),
    )  # fmt: skip
    seeds = seeds_of(0, 0)
    one, two = (adapted(own, 0.5, seeds) for _ in range(2))
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
    # The update is 0 at the start, and something random multiplies it.
    torch.testing.assert_close(one.eval()(features), own.model(features))
    assert all(any(bool(f.any()) for f in layer.factors) for _, layer in adapted_layers(one))
    rows = own_model.measure(own=own, p=[0.0, 0.5], n=4, draws=2).rows
    assert (rows["beta"] > 0).all()
    assert rows["test_loss"].nunique() == 4


def test_adalora_is_measured():
    adapt = of_peft(AdaLoraDropoutConfig, target_modules=["0"])
    rows = own_model.measure(own=small(adapt=adapt), p=[0.4], n=4, draws=1).rows
    assert (rows["beta"] > 0).all()


@pytest.mark.parametrize(
    "structure", [lambda z: {"logits": z, "n": 3}, lambda z: (None, [z])], ids=["dict", "tuple"]
)
def test_an_ensemble_averages_what_stands_in_dictionaries_and_tuples(structure):
    class Structured(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            return structure(self.model(x))

    plain = small()
    own = OwnModel(
        Structured(plain.model), plain.features, plain.targets, rank=2, steps=10, lr=1e-2,
        loss=lambda z, y: cross_entropy(z["logits"] if isinstance(z, dict) else z[1][0], y),
    )  # fmt: skip
    settings = {"p": 0.4, "n": 4, "draws": 1, "ensemble": 3}
    expected, found = (own_model.measure(own=one, **settings).rows for one in (plain, own))
    names = ["ensemble", "train_loss", "test_loss", "beta"]
    pd.testing.assert_frame_equal(found[names], expected[names])


def test_an_adapter_without_masks_is_refused():
    own = small(adapt=lambda model, p, seed: model)
    with pytest.raises(
        ValueError, match=r"own.adapt must be a function that returns the model wit"
    ):
        own_model.measure(own=own, p=[0.4], n=4, draws=1)


@pytest.mark.parametrize("p", [(0.0, 0.3), (0.3, 0.0), (0.1, 0.3)])
def test_an_adapter_that_does_not_take_the_rate_is_refused(p):
    """All rates would be one network under several names."""
    own = small(adapt=lambda model, p, seed: inject(model, rank=2, p=0.3, seed=seed))
    with pytest.raises(
        ValueError, match=r"own\.adapt must be a function whose layers have the rate"
    ):
        own_model.OwnModelSettings(own=own, p=p, n=4).cells()
    with pytest.raises(ValueError, match=r"here 0\.5; got the rate 0\.3"):
        RecommendSettings(own=own, n=8).cells()


def test_an_adapter_may_give_other_layers_a_smaller_rate():
    def adapt(model, p, seed):
        model = inject(model, rank=2, p=p / 2, target="0", seed=seed)
        return inject(model, rank=2, p=p, target="2", seed=seed)

    assert len(own_model.OwnModelSettings(own=small(adapt=adapt), p=(0.0, 0.4), n=4).cells()) == 8
