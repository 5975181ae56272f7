# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own model
#
# You have a pretrained model, few examples, and want to know: which p, and is the ensemble worth
# its N passes? Measure it. Here the model is a small network with layer norm, trained on digits
# *turned by a quarter*; the task is upright digits, of which we have 24. Put yours in its place.

# %%
import copy
from dataclasses import replace

import pandas as pd
import torch
from torch import nn

from lora_dropout import describe, inject
from probes import own_model, recommend
from probes.own_model import OwnModel
from probes.tasks import load_task

digits = load_task("digits")
images, labels = digits.features.float(), digits.targets.argmax(1)
turned = images.view(-1, 8, 8).rot90(dims=(1, 2)).flatten(1)

# %% [markdown]
# The pretrained model, by ordinary training on 800 turned digits:

# %%
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 48), nn.GELU(), nn.LayerNorm(48), nn.Linear(48, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for _ in range(300):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(turned[:800]), labels[:800]).backward()
    optimizer.step()


def accuracy(images, labels):
    with torch.no_grad():
        return float((model(images).argmax(1) == labels).float().mean())


accuracy(turned[800:], labels[800:]), accuracy(images[800:], labels[800:])

# %% [markdown]
# On upright digits it is little better than guessing. `inject` puts LoRA Dropout into its linear
# layers and freezes all else; `describe` lists the adapted layers.

# %%
pd.DataFrame(describe(inject(copy.deepcopy(model), rank=4, p=0.2))).T

# %% [markdown]
# Now measure (`own_model.measure` copies the plain model and injects by itself): for each p and
# each of three training sets, train once with all 24 examples and 24 times without one of them. The
# change of the left-out example's loss is β; the rest of the data is the test set.

# %%
own = OwnModel(
    model,
    features=images[800:],
    targets=labels[800:],
    loss=lambda outputs, targets: nn.functional.cross_entropy(outputs, targets, reduction="none"),
    score=lambda outputs, targets: outputs.argmax(1) == targets,
    rank=4,
    steps=80,
    lr=1e-2,
)
result = own_model.measure(own=own, p=[0, 0.1, 0.3, 0.5], n=24, draws=3, ensemble=[8])
result

# %%
result.plot()

# %% [markdown]
# Does that depend on the learning rate? At this one the network has not fitted the 24 examples yet.
# At five times it overfits them without dropout:

# %%
fast = own_model.measure(own=replace(own, lr=5e-2), p=[0, 0.1, 0.3, 0.5], n=24, draws=3)
fast

# %% [markdown]
# The mean gap is smaller with p = 0.5 than without dropout at both. The mean test loss is not:
# without dropout it is the lowest at the small learning rate and by far the highest at the large
# one. So it is with three other seeds. A constant prediction has 2.3: half of these means are above
# it.

# %% [markdown]
# How sure can one be? At the small learning rate the difference to p = 0, paired over training
# sets, with its interval:

# %%
differences = {p: result.difference((p, 0), (0.0, 0)) for p in (0.1, 0.3, 0.5)}
table = pd.DataFrame(differences, index=["test loss less that of p = 0", "from", "to"]).T
table.rename_axis("p").round(3)

# %% [markdown]
# Three training sets are few, and the intervals show it. For the built-in tasks, and for texts in a
# file of yours with a transformer (`--data mine.csv`), the same question has a command that spends
# the time that you give it: `python -m probes.recommend --minutes 5`. It tunes LoRA Dropout and its
# rivals on some training sets (learning rate, strength, stopping time), and other training sets say
# what the best of them gains over LoRA that is tuned as well. If nothing beats the best constant
# prediction, the answer is that nothing was learned.

# %%
answer = recommend.measure(task="digits", n=32, method="LoRA Dropout", minutes=0.2)
answer.plot()

# %%
print(answer.choice.reason)

# %% [markdown]
# What was told above, checked:

# %%
point = result.summary.query("ensemble == 0").set_index("p")
assert accuracy(turned[800:], labels[800:]) > 0.8 > accuracy(images[800:], labels[800:])
assert point["test_score"].max() > accuracy(images[800:], labels[800:]) + 0.1
fast_point = fast.summary.set_index("p")
for one in (point, fast_point):
    assert one.loc[0.5, "gap"] < one.loc[0, "gap"]
assert fast_point.loc[0, "train_loss"] < 0.2 < point.loc[0, "train_loss"]
assert point["test_loss"].idxmin() == fast_point["test_loss"].idxmax() == 0
assert not answer.choice.nothing_learned
assert answer.choice.gains == (answer.choice.recommended.method == "LoRA Dropout")
