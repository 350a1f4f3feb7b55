import types

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tuner.train.checkpoint import snapshot


def state():
    kernel = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last)
    return {
        "network": {"kernel": kernel, "bias": torch.arange(3.0), "seen": torch.tensor(7)},
        "optimizer": {0: {"moments": torch.randn(2, 3).t(), "step": torch.tensor(2.0)}},
        "list": [torch.tensor([True, False]), "text", None, 1.5],
        "numbers": (1, 2, 3, 4, 5),
    }


def test_a_snapshot_restores_values_shapes_and_the_strides_of_kernels():
    before = state()
    taken = snapshot.take(before)
    after = snapshot.restore(taken.tree, taken.pieces)
    kernel = after["network"]["kernel"]
    assert torch.equal(kernel, before["network"]["kernel"])
    assert kernel.stride() == before["network"]["kernel"].stride()
    assert torch.equal(after["optimizer"][0]["moments"], before["optimizer"][0]["moments"])
    assert after["network"]["seen"].item() == 7
    assert after["network"]["seen"].dtype == torch.int64
    assert after["list"][0].tolist() == [True, False]
    assert after["list"][1:] == ["text", None, 1.5]
    assert after["numbers"] == (1, 2, 3, 4, 5)


def test_nothing_changes_a_snapshot():
    before = state()
    taken = snapshot.take(before)
    before["network"]["bias"] += 1
    before["network"]["seen"] += 1  # the only one of its kind
    after = snapshot.restore(taken.tree, taken.pieces)["network"]
    assert after["bias"].tolist() == [0, 1, 2]
    assert after["seen"].item() == 7


def test_who_waits_for_a_gpu_leaves_the_core_to_others(monkeypatch):
    events, empty_like = [], torch.empty_like
    event = types.SimpleNamespace(record=lambda stream: None)
    monkeypatch.setattr(torch.cuda, "Event", lambda **options: events.append(options) or event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    monkeypatch.setattr(torch, "empty_like", lambda t, device, **_: empty_like(t, device=device))
    with FakeTensorMode():
        snapshot.take({"weight": torch.empty(3, device="cuda")})
    assert events == [{"blocking": True}], "not a thread that spins"


def test_it_is_one_piece_a_kind():
    assert len(snapshot.take(state()).pieces) == 3, "float32, int64 and bool"
