"""Print the requirements of the image from pyproject.toml: ``torch``, or the ``others``."""

import re
import sys
import tomllib

EXTRAS = ("postgresql", "mysql", "s3")


def main() -> None:
    with open("pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    extras = [text for name in EXTRAS for text in project["optional-dependencies"][name]]
    for text in [*project["dependencies"], *extras]:
        heavy = re.match(r"[\w-]+", text)[0] in ("torch", "torchvision")
        if heavy == (sys.argv[1] == "torch"):
            print(text)


if __name__ == "__main__":
    main()
