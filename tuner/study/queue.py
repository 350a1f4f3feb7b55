"""An entry of the queue of a study; ``tuner.study.enqueued`` reads them from a configuration."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tuner.space.distributions import Scalar


@dataclass(frozen=True)
class Item:
    """Fixed parameters by their names in the study, and their origin."""

    params: Mapping[str, Scalar]
    origin: str
    attrs: Mapping[str, Any] = field(default_factory=dict)
    """Further system attributes of the trial."""

    @property
    def key(self) -> str:
        """A key that is equal for equal parameters and attributes, regardless of their origin."""
        known = {**self.params, **self.attrs}
        text = json.dumps(known, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
