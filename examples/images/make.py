"""Write scikit-learn's digits as image files: one directory of PNGs per class."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def main(root: Path, each: int) -> None:
    """Write ``each`` images of every class to ``root/<digit>/<number>.png``."""
    found = load_digits()
    for digit in range(10):
        directory = root / str(digit)
        directory.mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(found.images[found.target == digit][:each]):
            grey = (image * 255 / 16).round().astype(np.uint8)
            Image.fromarray(grey).resize((40, 32)).save(directory / f"{number:03d}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100)
