"""``tuner predict``: classify images with an exported model."""

import argparse
import sys
from collections.abc import Iterator, Mapping

import tuner
from tuner import log
from tuner.errors import ConfigError, TunerError
from tuner.log import printable, say
from tuner.report.formatting import as_json


def run(args: argparse.Namespace) -> int:
    """Classify images, one line each; return 1 if any could not be read."""
    log.to_stderr()
    images = [*args.images, *args.overrides]  # argparse takes those after an option for unknown
    if not images:
        raise ConfigError(
            "expected image files, got none", key="predict", hint="tuner predict EXPORT a.png b.jpg"
        )
    model = tuner.load(args.model, device=args.device, trust=args.trust)
    width = max(map(len, images))
    read: list[str] = []

    def pictures() -> Iterator[object]:
        for image in images:
            try:
                picture = model.read(image)
            except TunerError as error:
                print(printable(f"error: {error}"), file=sys.stderr)
            else:
                read.append(image)
                yield picture

    for place, found in enumerate(model.predict(pictures())):  # type: ignore[arg-type]
        image = read[place]
        if args.json:
            scores = {
                "label": found.label,
                "probability": found.probability,
                "scores": found.scores,
            }
            say(as_json({"image": image, **scores}))
        else:
            say(f"{image:<{width}}  {_told(found.scores, args.top, numbers=not found.label)}")
    return 0 if len(read) == len(images) else 1


def _told(scores: Mapping[str, float], top: int, *, numbers: bool) -> str:
    """Return the most probable classes, or the numbers, as one line."""
    if numbers:
        return "  ".join(f"{name} {value:.5g}" for name, value in scores.items())
    best = sorted(scores.items(), key=lambda item: -item[1])[:top]
    return "  ".join(f"{name} {value:.1%}" for name, value in best)
