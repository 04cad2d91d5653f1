"""``python exports/convert.py``: a Keras student to verified ``.tflite`` files.

The same as ``python -m keras_skd.convert``.
"""

import sys

from keras_skd.convert import main

if __name__ == "__main__":
    sys.exit(main())
