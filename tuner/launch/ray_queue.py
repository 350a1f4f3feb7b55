"""Print a line for each request of resources that waits in a Ray cluster, for ``worker.turn``.

``python -m tuner.launch.ray_queue ADDRESS NAME`` leaves out requests that no node could ever serve,
and those of the study whose actors are called ``NAME-<k>``. It asks the server of the cluster's
state without joining the cluster, which would start a driver.
"""

import re
import sys
from collections.abc import Iterable, Mapping


def others(
    requests: Iterable[tuple[Mapping[str, float], int]],
    nodes: Iterable[Mapping[str, float]],
    names: Iterable[str],
    own: str,
) -> list[str]:
    """Return the requests of others, such as ``2 of CPU 1, GPU 0.5``.

    Args:
        requests: Resources, and how often they are asked for.
        nodes: All resources of each node.
        names: Names of the actors that wait; each is one of the requests.
        own: What the names of the study's own actors begin with.
    """
    nodes = list(nodes)
    served = [
        (need, count)
        for need, count in requests
        if any(all(node.get(k, 0.0) >= v for k, v in need.items()) for node in nodes)
    ]
    mine = sum(bool(re.fullmatch(rf"{re.escape(own)}-\d+", name)) for name in names)
    if sum(count for _, count in served) <= mine:
        return []
    return [f"{n} of {', '.join(f'{k} {v:g}' for k, v in need.items())}" for need, n in served]


def main(address: str, own: str) -> None:
    from ray._private.state import GlobalState
    from ray._raylet import GcsClient, GcsClientOptions  # type: ignore[attr-defined]
    from ray.autoscaler.v2.sdk import get_cluster_resource_state

    state = get_cluster_resource_state(GcsClient(address))
    actors = GlobalState()
    options = {"allow_cluster_id_nil": True, "fetch_cluster_id_if_nil": False}
    actors._initialize_global_state(GcsClientOptions.create(address, None, **options))
    waiting = ("PENDING_CREATION", "RESTARTING")
    tables = [actors.actor_table(None, actor_state_name=word) for word in waiting]
    requests = [
        (dict(found.request.resources_bundle), found.count)
        for found in state.pending_resource_requests
    ]
    nodes = [dict(node.total_resources) for node in state.node_states]
    names = [str(actor["Name"]) for table in tables for actor in table.values()]
    for line in others(requests, nodes, names, own):
        print(line)


if __name__ == "__main__":
    main(*sys.argv[1:])
