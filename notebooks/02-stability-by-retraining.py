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
# # Stability by retraining
#
# How much does a model's loss on an example change when that example is left out of training?
# The mean of that change is the *pointwise hypothesis stability* β of Definition 4.1 (arXiv
# 2404.09610). LoRA Dropout drops input columns of A and output rows of B, so that an entry of the
# update is dropped with probability $s = 2p - p^2$, and the paper argues that this makes β small.
#
# Here we retrain a small network once without each of its examples, at several rates, and look.

# %%
import theory
from probes.stability import measure

{p: theory.sparsity(p) for p in (0.0, 0.1, 0.3, 0.5)}

# %% [markdown]
# One call trains, for each rate and each of four training sets S of 48 digits, the network on S and
# the 48 networks on S without one example. All start from the same factors and see the same masks:
# only the left-out example differs. We do it at two learning rates. Where a conclusion holds at
# only one of them, we say at which.

# %%
slow, fast = (
    measure(p=[0, 0.1, 0.3, 0.5], ensemble=[4], n=48, draws=4, steps=200, lr=lr)
    for lr in (1e-3, 5e-3)
)
slow

# %%
fast

# %% [markdown]
# β and the generalization gap fall together as p grows, at both learning rates. Note the train loss
# too: with dropout the network also fits *less*, and fitting less lowers β by itself. These tables
# alone do not say which of the two it was.
#
# Which network has the lowest *test* loss depends on the learning rate. At the small one it is the
# network without dropout, which has not fitted S yet. At the large one that network fits S to a
# train loss near 0, and a small rate of dropout has the lower test loss.

# %%
slow.plot()

# %% [markdown]
# The bounds in the lower panels are curves to compare with: training with masks has no λ, and no
# theorem covers it. They are far above the measurements, and mostly above the largest loss C, so
# that they say nothing. For λ = 0.01 and 0.1, and for p = 0, there is none, as the Hessian has a
# negative eigenvalue that the penalty does not outweigh. The audit says which assumptions of the
# theorems these networks do not meet.

# %%
# The tables that the command line prints with --details; this one has the bounds.
next(one.table for one in slow.text_tables() if one.title.startswith("Bounds"))

# %%
slow.audit

# %% [markdown]
# What was told above, checked:

# %%
for result in (slow, fast):
    point = result.summary.query("ensemble == 0").set_index("p")
    assert result.diverged == 0
    assert point.loc[0.5, "beta"] < point.loc[0, "beta"]
    assert point.loc[0.5, "gap"] < point.loc[0, "gap"]
    assert point.loc[0.5, "train_loss"] > point.loc[0, "train_loss"]
    assert set(result.bounds["verdict"]) <= {"not exceeded", "exceeded", "no bound"}
    known = result.bounds.dropna(subset="bound")
    assert known["vacuous"].mean() > 0.5
best = {
    name: result.summary.query("ensemble == 0").set_index("p")["test_loss"].idxmin()
    for name, result in (("slow", slow), ("fast", fast))
}
assert best["slow"] == 0 < best["fast"]
assert fast.summary["train_loss"].min() < 0.05 < slow.summary["train_loss"].min()
weak = slow.bounds.query("(strength < 1 or p == 0) and statement == 'Proposition 4.2'")
assert (weak["verdict"] == "no bound").all()
