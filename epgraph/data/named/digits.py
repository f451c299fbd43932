"""The 1,797 digits that come with scikit-learn."""

from __future__ import annotations

from pathlib import Path

from epgraph.data.pictures import DataSet, Pictures, array_pictures
from epgraph.data.recipes import Recipe

TEST_EXAMPLES = 360


def _read(root: Path, download: bool) -> Pictures:
    """Split the digits into 1,437 and 360; no files are needed."""
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    # Pixels range from 0 to 16.
    images, labels = (digits.images / 16).astype(np.float32), digits.target
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels, test_size=TEST_EXAMPLES, stratify=labels, random_state=0
    )
    return array_pictures((x_train, y_train.tolist()), (x_test, y_test.tolist()), "0123456789")


DATA_SETS = {
    "digits": DataSet(
        Recipe((1, 8, 8), 10, bytes=False),
        _read,
        (1437, TEST_EXAMPLES),
        "The digits of scikit-learn, divided by 16. The split is stratified and always the same. It is bundled.",
    ),
}
