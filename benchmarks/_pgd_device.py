"""What only a CUDA device can tell: launches of a call, its time in a replayed graph, whether it waits for the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from _timing import Call, CudaClock


def launches(call: Call, s: Any) -> int:
    """Kernels and copies that one call puts on the device."""
    from torch.profiler import ProfilerActivity, profile

    call(s)
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        call(s)
        torch.cuda.synchronize()
    return sum(event.device_type.name == "CUDA" for event in seen.events() or [])


def graph_seconds(call: Call, sets: Sequence[Any]) -> float | None:
    """Seconds of a call replayed from a CUDA graph that takes the sets in turn; None if it cannot be captured."""
    side, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    try:
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for s in sets:
                call(s)
        torch.cuda.current_stream().wait_stream(side)
        with torch.cuda.graph(graph):
            for s in sets:
                call(s)
    except RuntimeError:
        return None
    clock = CudaClock()
    clock.seconds(lambda _: graph.replay(), [None], 3)
    times = [clock.seconds(lambda _: graph.replay(), [None], 20) / len(sets) for _ in range(5)]
    return sorted(times)[2]


def synchronises(call: Call, s: Any) -> bool:
    """Whether the call waits for the device."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        call(s)
    except RuntimeError:
        return True
    finally:
        torch.cuda.set_sync_debug_mode(before)
    return False


def device_facts() -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "l2_mib": properties.L2_cache_size / 2**20,
        "capability": f"{properties.major}.{properties.minor}",
        "runtime": torch.version.cuda,
    }
