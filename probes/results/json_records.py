"""Tables as JSON, which has neither NaN nor infinity."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd


def as_json(content: pd.DataFrame | Mapping[str, Any]) -> str:
    """Return a table, or several things by name, as a JSON document.

    Args:
        content: a table becomes a list of records; NaN becomes null, infinity a word.
    """
    return json.dumps(_plain(content), indent=2, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, pd.DataFrame):
        return [_plain(record) for record in value.to_dict("records")]
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else "inf" if value > 0 else "-inf"
    return value
