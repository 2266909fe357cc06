"""Imports of everything that training and rendering need, in the server that worker processes are forked from.

Garbage collection is off meanwhile: it would free nothing and take a third of the time. `gc.freeze` keeps workers from
collecting TensorFlow's half a million objects, which would copy the memory pages that they share with the server.
"""

import gc
import importlib

_NEEDED = """
    poolstudy.training.train poolstudy.execution.gpu.tensorflow poolstudy.trial.environment poolstudy.figures
    pandas sklearn.metrics
"""

gc.disable()
for _name in _NEEDED.split():
    importlib.import_module(_name)
gc.freeze()
gc.enable()
