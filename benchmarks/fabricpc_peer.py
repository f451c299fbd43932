"""Time training steps of FabricPC in its own environment; ``peer_pcn.py`` starts this and asks for one at a time.

    PEER/bin/python benchmarks/fabricpc_peer.py WEIGHTS.npz

Reads one JSON request a line and answers each by one JSON line. Nothing of epgraph or torch is imported here, and
nothing of FabricPC is copied: networks, inference and steps are its public objects. Its layout is channels last.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from fabricpc import setup_jax
from fabricpc.core.activations import HardTanhActivation, IdentityActivation, TanhActivation
from fabricpc.core.inference import InferenceSGD
from fabricpc.core.inference_epc import EPCInference
from fabricpc.core.topology import Edge
from fabricpc.core.types import GraphParams, NodeParams
from fabricpc.graph_assembly import TaskMap, graph
from fabricpc.graph_initialization.state_initializer import FeedforwardStateInit, initialize_graph_state
from fabricpc.nodes import ConvNode, Linear
from fabricpc.training import make_train_step

Arrays = dict[str, np.ndarray]
ACTIVATIONS = {"tanh": TanhActivation(), "relu6": HardTanhActivation(min_val=0.0, max_val=6.0)}


def network(spec: dict[str, Any], inference: Any) -> Any:
    """Chain of the layers of a specification, as ``peer_pcn.NETWORKS`` has it."""
    shape, last = spec["input"], list(spec["layers"])[-1]
    nodes = [Linear(shape=(*shape[1:], shape[0]) if len(shape) == 3 else tuple(shape), name="x")]
    for name, layer in spec["layers"].items():
        act = IdentityActivation() if name == last else ACTIVATIONS[spec["activation"]]
        if "stride" in layer:
            stride = (layer["stride"],) * 2
            conv = {"kernel_size": (3, 3), "stride": stride, "padding": ((1, 1), (1, 1))}
            nodes.append(ConvNode(shape=(*layer["map"], layer["channels"]), name=name, activation=act, **conv))
        else:
            nodes.append(Linear(shape=(layer["channels"],), name=name, activation=act, flatten_input=True))
    edges = [Edge(source=a, target=b.slot("in")) for a, b in pairwise(nodes)]
    return graph(
        nodes=nodes,
        edges=edges,
        task_map=TaskMap(x=nodes[0], y=nodes[-1]),
        inference=inference,
        graph_state_initializer=FeedforwardStateInit(),
    )


def parameters(spec: dict[str, Any], structure: Any, arrays: Arrays) -> GraphParams:
    """Parameters of epgraph's network in the layout of this one."""
    nodes = {"x": NodeParams(weights={}, biases={})}
    maps: list[int] = list(spec["input"])
    for name, layer in spec["layers"].items():
        weight, bias = arrays[f"{name}.weight"], arrays[f"{name}.bias"]
        if "stride" in layer:
            weight = weight.transpose(2, 3, 1, 0)
            maps = [layer["channels"], *layer["map"]]
        elif len(maps) == 3:
            weight = weight.reshape(-1, *maps).transpose(2, 3, 1, 0).reshape(-1, len(weight))
            maps = [layer["channels"]]
        else:
            weight = weight.T
            maps = [layer["channels"]]
        (key,) = structure.nodes[name].node_info.in_edges
        axes = 1 + len(structure.nodes[name].node_info.shape)
        shaped = bias.reshape((1,) * (axes - 1) + (-1,))
        nodes[name] = NodeParams(weights={key: jnp.asarray(weight)}, biases={"b": jnp.asarray(shaped)})
    return GraphParams(nodes=nodes)


INFERENCE = {"sgd": InferenceSGD, "epc": EPCInference}


class Step:
    """A compiled training step of a network: feed-forward initial states, inference, weight gradients, plain SGD."""

    def __init__(self, request: dict[str, Any], arrays: Arrays) -> None:
        spec, algorithm = request["network"], request["algorithm"]
        kind = INFERENCE["sgd" if algorithm == "backprop" else algorithm]
        # The rate of inference is left at the library's default: time does not depend on it.
        self.structure = network(spec, kind(infer_steps=request["steps"]))
        self.params = parameters(spec, self.structure, arrays)
        optimizer = optax.sgd(request["rate"])
        self.state = optimizer.init(self.params)
        how = "backprop" if algorithm == "backprop" else "pc"
        self.step = make_train_step(self.structure, optimizer, algorithm=how)
        x = arrays["x"]
        self.x = jnp.asarray(x.transpose(0, 2, 3, 1) if x.ndim == 4 else x)
        self.batch = {"x": self.x, "y": jnp.asarray(arrays["y"])}
        self.key = jax.random.PRNGKey(0)
        self.run(2)

    def run(self, count: int) -> None:
        """Take steps, each from the parameters of the one before."""
        params, state = self.params, self.state
        for _ in range(count):
            params, state, _, _ = self.step(params, state, self.batch, self.key)
        jax.block_until_ready((params, state))

    def output(self) -> list[list[float]]:
        """Output of the forward pass."""
        clamps = {"x": self.x}
        state = initialize_graph_state(self.structure, len(self.x), self.key, clamps=clamps, params=self.params)
        last = self.structure.task_map["y"]
        return np.asarray(state.nodes[last].z_latent).tolist()

    def gradient(self, rate: float) -> dict[str, list[float]]:
        """What a step takes off the parameters, by rate: gradients, flat and in the order of this layout."""
        after, _, _, _ = self.step(self.params, self.state, self.batch, self.key)
        found = jax.tree_util.tree_map(lambda a, b: (a - b) / rate, self.params, after)
        return {
            f"{name}.{kind}": np.asarray(next(iter(part.values()))).ravel().tolist()
            for name, node in found.nodes.items()
            for kind, part in (("weight", node.weights), ("bias", node.biases))
            if part
        }


def cosines(one: dict[str, list[float]], other: dict[str, list[float]]) -> float:
    """Lowest cosine of a parameter's gradient."""
    pairs = [(np.asarray(one[name]), np.asarray(other[name])) for name in other]
    return min(float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))) for a, b in pairs)


def main() -> None:
    arrays_of: dict[str, Arrays] = {}
    steps: dict[str, Step] = {}
    said = {name: version(name) for name in ("fabricpc", "jax", "jaxlib", "optax")}
    print(json.dumps({"versions": said, "devices": [str(device) for device in jax.devices()]}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        case = request["case"]
        answer: dict[str, Any] = {}
        if request["do"] == "build":
            file = request["arrays"]
            if file not in arrays_of:
                with np.load(file) as loaded:
                    arrays_of[file] = dict(loaded)
            steps[case] = Step(request, arrays_of[file])
            answer["output"] = steps[case].output()
        elif request["do"] == "cosine":
            found = steps[case].gradient(request["rate"])
            answer["cosine"] = cosines(found, steps[request["against"]].gradient(request["rate"]))
        else:
            started, worked = time.perf_counter(), time.process_time()
            steps[case].run(request["count"])
            answer = {"clock": time.perf_counter() - started, "processor": time.process_time() - worked}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    setup_jax(platform="cpu")
    main()
