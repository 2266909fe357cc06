"""What the server of workers loads before it is forked: everything that training and drawing need.

By its import this module does it, without looking for garbage on the way, of which there is none: that takes a third
of the time. Nor do workers look through what was loaded: each full collection would go through TensorFlow's half a
million objects, and copy the pages that worker and server share (the documentation of `gc.freeze`).
"""

import gc
import importlib

_NEEDED = (
    "poolstudy.training.train",
    "poolstudy.execution.gpu.tensorflow",
    "poolstudy.trial.environment",
    "poolstudy.figures",
    "pandas",
    "sklearn.metrics",
)

gc.disable()
for _name in _NEEDED:
    importlib.import_module(_name)
gc.freeze()
gc.enable()
