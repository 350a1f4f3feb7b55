"""Turn database errors in the dashboard into HTTP 503 with the reason, without a traceback."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from bottle import HTTPError
from optuna.storages import BaseStorage

from tuner.errors import StorageError
from tuner.log import log
from tuner.masking import masked
from tuner.storage import outages


def raising_http_errors(storage: BaseStorage) -> BaseStorage:
    """Wrap a storage so that its methods raise ``HTTPError`` 503; each reason is logged once."""
    known: set[str] = set()
    for name in dir(BaseStorage):
        if not name.startswith("_") and callable(method := getattr(storage, name)):
            setattr(storage, name, _telling(method, known))
    return storage


def _telling(method: Callable[..., Any], known: set[str]) -> Callable[..., Any]:
    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except (StorageError, *outages.FAILURES) as error:
            lost = error if isinstance(error, StorageError) else outages.lost(error)
            reason = masked(str(lost))
            if reason not in known:
                log.warning("dashboard: %s", reason)
            known.add(reason)
            raise HTTPError(503, reason) from error

    return call
