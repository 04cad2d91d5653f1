"""Students trained for integers.

Naming the schemes loads no TensorFlow, so that ``train --help`` answers at once.
"""

from keras_skd.lazy import lazy_names

# Of export, those that can be trained for: their activations are integers.
SCHEMES = ("static_wi8_ai8", "int8", "static_wi4_ai8")

__getattr__, __dir__, __all__ = lazy_names(__name__, {"Simulation": "simulation"})
