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
# only the left-out example differs.

# %%
result = measure(p=[0, 0.1, 0.3, 0.5], ensemble=[4], n=48, draws=4, steps=200)
result

# %% [markdown]
# β and the generalization gap fall together as p grows. Note the train loss too: with dropout the
# network also fits *less*, and fitting less lowers β by itself. This table alone does not say
# which of the two it was.

# %%
result.plot()

# %% [markdown]
# The bounds in the lower panels are far above the measurements, and mostly *vacuous*: above the
# largest loss. For λ = 0.01 they say nothing, as the Hessian has a negative eigenvalue that the
# penalty does not outweigh: the assumption of Proposition 4.2 fails.

# %%
result.bound_summary.query("ensemble == 0")

# %% [markdown]
# What was told above, checked:

# %%
point = result.summary.query("ensemble == 0").set_index("p")
assert result.diverged == 0
assert point.loc[0.5, "beta"] < point.loc[0, "beta"]
assert point.loc[0.5, "gap"] < point.loc[0, "gap"]
assert point.loc[0.5, "train_loss"] > point.loc[0, "train_loss"]
small = result.bounds.query("strength == 0.01 and statement == 'Proposition 4.2'")
assert (small["verdict"] == "assumption failed").any()
assert not (result.bounds["verdict"] == "holds").all()
