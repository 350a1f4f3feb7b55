"""Tracks which tensors are on the fake device, and handles ``device=`` in torch's functions.

The tensors are ordinary CPU tensors; an attribute of their storage marks those on the device.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from tests.fakecuda.kernels import Kernels

DEVICE = torch.device("cuda", 0)


def on_device(tensor: Tensor) -> bool:
    return getattr(tensor.untyped_storage(), "on_device", False)


def device_of(tensor: Tensor) -> torch.device:
    return DEVICE if on_device(tensor) else tensor.device


def put(tensors: Any, *, there: bool) -> None:
    """Mark new tensors as on the device, or as on the host."""
    for tensor in each(tensors):
        tensor.untyped_storage().on_device = there


def pinned(tensor: Tensor) -> bool:
    return getattr(tensor.untyped_storage(), "pinned", False)


def pin(tensor: Tensor) -> Tensor:
    tensor.untyped_storage().pinned = True
    return tensor


def each(*values: Any) -> list[Tensor]:
    """Return all tensors among the values and in lists or tuples among them."""
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += each(*value)
    return found


class Placement(TorchFunctionMode):
    """Overrides functions that involve a device: ``device=``, ``to``, ``pin_memory`` …"""

    def __init__(self, kernels: "Kernels") -> None:
        super().__init__()
        self.kernels = kernels
        self.answers: dict[Any, Callable[..., Any]] = {
            Tensor.device.__get__: device_of,
            Tensor.is_cuda.__get__: on_device,
            Tensor.to: self._to,
            Tensor.cuda: lambda tensor, *_, **options: self._to(tensor, DEVICE, **options),
            Tensor.cpu: lambda tensor, **options: self._to(tensor, "cpu", **options),
            Tensor.pin_memory: lambda tensor: pin(tensor.clone()),
            Tensor.is_pinned: pinned,
            Tensor.tolist: self._tolist,
            Tensor.numpy: functools.partial(_numpy, Tensor.numpy),
            Tensor.__array__: functools.partial(_numpy, Tensor.__array__),
            Tensor.__deepcopy__: _deepcopy,
            torch.nn.functional.one_hot: self._one_hot,
            torch.tensor: functools.partial(self._from_values, torch.tensor),
            torch.as_tensor: functools.partial(self._from_values, torch.as_tensor),
        }

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if answer := self.answers.get(func):
            return answer(*args, **kwargs or {})
        if getattr(func, "__name__", "") in ("__get__", "__set__"):
            return func(*args)
        return self._made(func, args, dict(kwargs or {}))

    def _made(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function; the result is on the ``device`` given, else on that of the arguments."""
        named, pinning = kwargs.get("device"), kwargs.pop("pin_memory", False)
        there = any(map(on_device, each(args, *kwargs.values())))
        ours = named is not None and torch.device(named).type in ("cpu", "cuda")
        if ours:
            there, kwargs["device"] = torch.device(named).type == "cuda", "cpu"
        if there and any(_of_the_host(value) for value in (*args, *kwargs.values())):
            raise RuntimeError(f"{func}: expected a generator of the device")
        before, self.kernels.there = self.kernels.there, there
        try:
            made = func(*args, **kwargs)
        finally:
            self.kernels.there = before
        if ours:
            put(made, there=there)
        return pin(made) if pinning else made

    def _from_values(self, make: Callable[..., Any], data: Any, **options: Any) -> Any:
        made = self._made(make, (data,), options)
        if on_device(made) and not isinstance(data, Tensor):
            self.kernels.wait("a tensor of the host's values")
            self.kernels.wrote(made)
        return made

    def _to(self, tensor: Tensor, *args: Any, **options: Any) -> Tensor:
        rest, target = list(args), options.pop("device", None)
        if rest and isinstance(rest[0], Tensor):
            like = rest.pop(0)
            target, options["dtype"] = device_of(like), like.dtype
        elif rest and not isinstance(rest[0], torch.dtype):
            target = rest.pop(0)
        options |= dict(zip(("dtype", "non_blocking"), rest, strict=False))
        options["dtype"] = options.get("dtype") or tensor.dtype
        there = on_device(tensor)
        kind = "cuda" if there else "cpu"
        kind = kind if target is None else torch.device(target).type
        if kind == "meta":
            return tensor.to("meta", **options)
        if (kind == "cuda") == there:
            return tensor.to(**options)
        background = options.pop("non_blocking", False)
        self.kernels.crossing(tensor, None, background=background)
        moved = tensor.to(**options | {"copy": True})
        put(moved, there=not there)
        if not there:
            self.kernels.wrote(moved)
        elif background:
            pin(moved)
        else:
            self.kernels.host.follow(self.kernels.stream)
        return moved

    def _one_hot(self, labels: Tensor, num_classes: int = -1) -> Tensor:
        """Read labels only if ``num_classes`` is not given, as CUDA does and the CPU does not."""
        if num_classes == -1 or not on_device(labels):
            return torch.nn.functional.one_hot(labels, num_classes)
        options = {"dtype": labels.dtype, "device": DEVICE}
        made = self._made(torch.zeros, (*labels.shape, num_classes), options)
        return made.scatter_(-1, labels.unsqueeze(-1), 1)

    def _tolist(self, tensor: Tensor) -> Any:
        if on_device(tensor):
            self.kernels.reading("tolist", tensor)
        return tensor.tolist()


def _of_the_host(value: Any) -> bool:
    return isinstance(value, torch._C.Generator) and value.device.type == "cpu"


def _numpy(read: Callable[..., Any], tensor: Tensor, *args: Any, **options: Any) -> Any:
    if on_device(tensor):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")
    return read(tensor, *args, **options)


def _deepcopy(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    copied = tensor.__deepcopy__(memo)
    put(copied, there=on_device(tensor))
    return copied
