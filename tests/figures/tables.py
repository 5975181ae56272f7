"""Tables with numbers that are all different, for drawings."""

from itertools import product

import numpy as np
import pandas as pd


def grid(names, **keys):
    """One row a combination of the keys' values, with means and intervals of the names.

    The intervals are of different widths, below and above alike.
    """
    table = pd.DataFrame(list(product(*keys.values())), columns=list(keys))
    place = np.arange(len(table))
    for number, name in enumerate(names):
        table[name] = 0.3 + 0.1 * number + 0.01 * place
        table[f"{name}_low"] = table[name] - 0.02 - 0.001 * place
        table[f"{name}_high"] = table[name] + 0.02 + 0.001 * place
    return table


def without_high(table):
    """The table as it is where only the lower ends are given."""
    return table.drop(columns=[name for name in table if str(name).endswith("_high")])
