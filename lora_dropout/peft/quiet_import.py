"""Imports PEFT without what bitsandbytes, where it is installed, says of kernels that it lacks.

PEFT imports bitsandbytes, which warns on every import. Nobody asked for it: most models are not
quantized, and those that are work.
"""

import logging

_logger = logging.getLogger("bitsandbytes")
_level = _logger.level
_logger.setLevel(logging.ERROR)
try:
    import peft  # noqa: F401
finally:
    _logger.setLevel(_level)
