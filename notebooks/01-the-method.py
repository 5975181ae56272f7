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
# # The method
#
# LoRA adds to a frozen weight $W_0$ a trained update of low rank, $\frac{\alpha}{r} B A$. **LoRA
# Dropout** (arXiv 2404.09610) drops input columns of $A$ and output rows of $B$ in every training
# step:
#
# $$h = W_0 x + \tfrac{\alpha}{r}\,\mathrm{diag}(m_B)\,B\,A\,\mathrm{diag}(m_A)\,x,\qquad
# m_A, m_B \sim \mathrm{Bernoulli}(1-p).$$
#
# This notebook looks at what that does to one layer. The other notebooks ask what it is good for.

# %%
import pandas as pd
import seaborn as sns
import torch
from torch import nn

import theory
from lora_dropout import Ensemble, describe, inference_mode, inject, mask_schedule, members, merge

torch.manual_seed(0)
model = inject(nn.Sequential(nn.Linear(24, 24)), rank=4, p=0.3, seed=1)
pd.DataFrame(describe(model)).T

# %% [markdown]
# ## Which entries are dropped
#
# B starts at zero, so the update does too. Let us give it some values and look at the update that
# one training step sees: whole rows and columns are missing, never a part of the rank dimension.

# %%
layer = model[0]
with torch.no_grad():
    layer.lora_B.normal_()
update = layer.lora_B.detach() @ layer.lora_A.detach()
masked = layer.mask_out[:, None] * update * layer.mask_in
axes = sns.heatmap(masked, cmap="vlag", center=0, square=True, cbar=False)
_ = axes.set(xlabel="input (columns of A)", ylabel="output (rows of B)", xticks=[], yticks=[])
# %% [markdown]
# An entry survives if its row *and* its column do, with probability $(1-p)^2$; so it is dropped
# with probability $2p - p^2$. Over many steps the share of dropped entries shows it:

# %%
schedule, dropped = mask_schedule(model), []
for step in range(2000):
    schedule.seek(step)
    dropped.append(1 - layer.mask_out.mean() * layer.mask_in.mean())
schedule.seek(0)
share = float(torch.stack(dropped).mean())
{"measured": share, "2p - p^2": theory.sparsity(0.3)}

# %% [markdown]
# The masks depend on (seed, step, layer, sample) alone. So any step can be repeated, in any order
# and on any number of devices. The masks advance with the optimizer's steps.

# %%
optimizer = torch.optim.Adam(schedule.factors(), lr=0.01)
x = torch.randn(8, 24)
first = layer.mask_in.clone()
model(x).square().mean().backward()
optimizer.step()
schedule.step, torch.equal(first, layer.mask_in)

# %% [markdown]
# ## Three ways of inference
#
# The paper does not divide what survives by $1-p$. So after training there are three different
# networks to choose from:
#
# - *no masks*: the update as it stands, larger than what training saw by $1/(1-p)^2$;
# - *expected weight*: the update times $(1-p)^2$; one pass;
# - *ensemble*: the average output of N sampled networks; N passes.

# %%
model.eval()
with torch.no_grad():
    frozen = layer.base(x)
    modes = {}
    for mode in ("no masks", "expected weight"):
        with inference_mode(model, mode):
            modes[mode] = model(x) - frozen
    for size in (1, 16, 256):
        modes[f"ensemble of {size}"] = Ensemble(model, size)(x) - frozen
reference = modes["expected weight"]
distance = {
    mode: float((update - reference).norm() / reference.norm()) for mode, update in modes.items()
}
distance

# %% [markdown]
# In one linear layer the expected-weight network *is* the limit of the ensemble: the distance of
# an ensemble falls like $1/\sqrt N$. Without masks the update is $1/(1-p)^2 \approx 2.04$ times too
# large. Behind a nonlinearity the limit is another network; notebook 04 measures which is better.
#
# At p = 0.3 a single member lies about as far from that limit as the update itself is large:

# %%
spread = torch.stack([model(x).detach() for _ in members(model, 64)]).std(0).mean()
size = reference.square().mean(0).sqrt().mean()
{"deviation of a member": float(spread), "size of the update": float(size)}

# %% [markdown]
# When training is over, `merge` gives a plain `nn.Linear` with the expected-weight update inside.

# %%
before = model(x)
plain = merge(model)
type(plain[0]).__name__, bool(torch.allclose(plain(x), before, atol=1e-6))

# %% [markdown]
# What was told above, checked:

# %%
assert abs(share - theory.sparsity(0.3)) < 0.01
assert abs(distance["no masks"] - (1 / 0.7**2 - 1)) < 1e-4
assert 0.5 < spread / size < 2
assert distance["ensemble of 256"] < distance["ensemble of 16"] < distance["ensemble of 1"]
assert schedule.step == 1
