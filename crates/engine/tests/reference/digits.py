"""Records scikit-learn's digits: 1,797 images of 8x8 pixels from 0 to 16, each after its label, one byte a value.

Run in an environment with scikit-learn:  python digits.py
"""

import gzip
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

digits = load_digits()
rows = np.column_stack([digits.target, digits.data]).astype(np.uint8)
(Path(__file__).parent / "data" / "digits.bin.gz").write_bytes(gzip.compress(rows.tobytes(), 9, mtime=0))
