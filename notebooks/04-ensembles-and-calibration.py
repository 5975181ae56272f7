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
# # Ensembles and calibration
#
# At test time one can average the outputs of N sampled networks. Theorem 4.5 (arXiv 2404.09610)
# says that the average has at most the risk of its *average member*. That is Jensen's inequality,
# and true. But is the average member what one would use otherwise?

# %%
from probes import calibration, ensemble, sensitivity

# %%
result = ensemble.measure(p=[0.1, 0.3], sizes=[1, 2, 4, 8, 16, 32], draws=8)
result.plot()

# %% [markdown]
# The risk falls with N, as the 1/N law says (dotted). It ends *above* the dashed line: the
# expected-weight network, which costs one pass. Its advantage, paired over training sets:

# %%
largest = result.summary.query("ensemble == 32").set_index("p")
largest[["test_loss", "members", "against_expected", "against_expected_low"]]

# %% [markdown]
# So the theorem holds (no ensemble is worse than its average member) and does not decide the
# question that a practitioner has.
#
# ## Calibration
#
# Are the predicted probabilities right? The expected calibration error along training, and accuracy
# against confidence at the best checkpoint, which is chosen on one half of the held-out data and
# measured on the other. The learning rate is five times the task's: the network without dropout
# then overfits.

# %%
calibration = calibration.measure(p=0.3, ensemble=16, draws=8, lr=5e-3)
calibration.plot()

# %%
calibration

# %% [markdown]
# Trained to the end, the network without dropout is overconfident: its mean confidence is above its
# accuracy. With dropout it is *under*confident here. Stopped at its best checkpoint, the network
# without dropout is well calibrated by itself.
#
# ## p and N together
#
# N is also the number of mask pairs in a training step. More of them make the gradient less noisy,
# so that the network fits faster; the gap grows with N at every p, if slightly.

# %%
grid = sensitivity.measure(p=[0.1, 0.3, 0.5], samples=[1, 4], n=32, draws=4, steps=200)
grid.plot()

# %% [markdown]
# What was told above, checked:

# %%
rows = result.rows.query("ensemble > 0")
assert (rows["test_loss"] <= rows["members"] * (1 + 1e-9)).all()
assert (largest["against_expected"] > 0).all()
end = calibration.summary.query("moment == 'end'").set_index("inference")
assert end.loc["no masks", "confidence"] > end.loc["no masks", "accuracy"]
assert end.loc["expected weight", "confidence"] < end.loc["expected weight", "accuracy"]
fit = grid.summary.query("inference == 'expected weight'").set_index(["p", "samples"])
assert all(fit.loc[(p, 4), "train_loss"] < fit.loc[(p, 1), "train_loss"] for p in (0.1, 0.3, 0.5))
