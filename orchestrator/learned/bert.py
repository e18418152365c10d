"""Writes a BERT encoder as an ONNX graph, straight from its weights: no torch is needed, neither here nor to serve it.

The graph reads texts of one length at a time, so that there is no padding and no mask. Dense layers multiply bytes: each token's
activations have a scale of their own, and each output's weights have theirs, and the products are exact integers on every processor.
So what comes out for a text does not depend on its neighbours.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Weights = Mapping[str, NDArray[Any]]

OPSET: Final = 20
IR_VERSION: Final = 10
"""Of the format: releases of onnxruntime from 1.17 on read it."""
INPUT: Final = "tokens"
OUTPUT: Final = "states"
_MOST_HEADER_BYTES: Final = 1 << 20
_KINDS: Final = {"F32": np.float32, "I64": np.int64}
_ACTIVATION_LEVELS: Final = 127
_WEIGHT_LEVELS: Final = 63
"""Half of what a byte could hold: processors without dot products of bytes add two products in 16 bits, and 2 x 255 x 63 still fits."""
_ZERO: Final = 128
"""What stands for zero in activations, which are unsigned: processors multiply unsigned by signed bytes."""
_LEAST_SCALE: Final = 1e-8
_CONTRIB: Final = "com.microsoft"


def read_weights(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file by name; raises ValueError where it is none."""
    data = path.read_bytes()
    if len(data) < 8 or (size := struct.unpack("<Q", data[:8])[0]) > min(_MOST_HEADER_BYTES, len(data) - 8):
        raise ValueError("it has no header")
    table = json.loads(data[8 : 8 + size])
    if not isinstance(table, dict):
        raise ValueError("its header is no table")  # noqa: TRY004 - a file's content, not an argument's type
    found: dict[str, NDArray[Any]] = {}
    for name, row in table.items():
        if name == "__metadata__":
            continue
        begin, end = row["data_offsets"]
        array = np.frombuffer(data[8 + size + begin : 8 + size + end], dtype=_KINDS[row["dtype"]])
        found[name] = array.reshape(row["shape"])
    return found


def encoder_graph(weights: Weights, layers: int, heads: int, epsilon: float, *, eight_bits: bool = True) -> bytes:
    """The serialised model: `tokens` (texts, length) int64 in, the last layer's `states` (texts, length, width) out."""
    graph = _Graph(weights, epsilon, eight_bits)
    width = weights["embeddings.word_embeddings.weight"].shape[1]
    states = graph.embeddings()
    for number in range(layers):
        states = graph.layer(states, f"encoder.layer.{number}.", heads, width)
    return graph.serialised(states, width)


class _Graph:
    """Nodes and constants, as they are put together."""

    def __init__(self, weights: Weights, epsilon: float, eight_bits: bool) -> None:
        self._weights, self._epsilon, self._eight_bits = weights, epsilon, eight_bits
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def embeddings(self) -> str:
        """Words and places, summed and normalised. One kind of token only: what pairs of texts would need is left out."""
        words = self._weights["embeddings.word_embeddings.weight"].astype(np.float16)  # half the file, same answers
        places = self._weights["embeddings.position_embeddings.weight"]
        places = places + self._weights["embeddings.token_type_embeddings.weight"][0]
        length = self._node("Gather", self._node("Shape", INPUT), self._whole(1))
        first = self._whole(0)
        here = self._node("Slice", self._constant(places), first, length, first)
        said = self._node("Cast", self._node("Gather", self._constant(words), INPUT), to=_type("FLOAT"))
        return self._norm(self._node("Add", said, here), "embeddings.LayerNorm")

    def layer(self, states: str, name: str, heads: int, width: int) -> str:
        """One layer: attention and the two dense layers after it, each added to what came in and normalised."""
        context = self._attention(states, f"{name}attention.self.", heads, width)
        joined = self._node("Add", self._dense(context, f"{name}attention.output.dense"), states)
        states = self._norm(joined, f"{name}attention.output.LayerNorm")
        inner = self._node("Gelu", self._dense(states, f"{name}intermediate.dense"))
        joined = self._node("Add", self._dense(inner, f"{name}output.dense"), states)
        return self._norm(joined, f"{name}output.LayerNorm")

    def serialised(self, states: str, width: int) -> bytes:
        """The whole model in ONNX's format: the same bytes whenever it is made from the same weights."""
        from onnx import TensorProto, helper

        self._nodes.append(helper.make_node("Identity", [states], [OUTPUT]))
        given = helper.make_tensor_value_info(INPUT, TensorProto.INT64, ["texts", "length"])
        made = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["texts", "length", width])
        graph = helper.make_graph(self._nodes, "encoder", [given], [made], self._constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(_CONTRIB, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        return bytes(model.SerializeToString(deterministic=True))

    def _attention(self, states: str, name: str, heads: int, width: int) -> str:
        """What each token takes from the others. The three products are one, and 1/sqrt(size) stands in the weights."""
        size = width // heads
        parts = ("query", "key", "value")
        factors = np.repeat(np.array([size**-0.5, 1, 1], np.float32), width)
        weight = np.concatenate([self._weights[f"{name}{part}.weight"] for part in parts]) * factors[:, None]
        bias = np.concatenate([self._weights[f"{name}{part}.bias"] for part in parts]) * factors
        shape = self._whole(0, 0, 3 * heads, size)
        found = self._node(
            "Transpose", self._node("Reshape", self._product(states, weight, bias), shape), perm=[0, 2, 1, 3]
        )
        query, key, value = self._nodes_of("Split", found, count=3, axis=1, num_outputs=3)
        scores = self._node("MatMul", query, self._node("Transpose", key, perm=[0, 1, 3, 2]))
        taken = self._node("MatMul", self._node("Softmax", scores, axis=-1), value)
        whole = self._whole(0, 0, width)
        return self._node("Reshape", self._node("Transpose", taken, perm=[0, 2, 1, 3]), whole)

    def _dense(self, states: str, name: str) -> str:
        return self._product(states, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _product(self, states: str, weight: NDArray[Any], bias: NDArray[Any]) -> str:
        """`states` times a weight of shape (outputs, inputs), and the bias."""
        if not self._eight_bits:
            product = self._node("MatMul", states, self._constant(weight.T))
            return self._node("Add", product, self._constant(bias))
        largest = self._node("ReduceMax", self._node("Abs", states), self._whole(-1), keepdims=1)
        scale = self._node("Mul", largest, self._constant(np.float32(1 / _ACTIVATION_LEVELS)))
        scale = self._node("Max", scale, self._constant(np.float32(_LEAST_SCALE)))
        # Cut off after adding a half: a rounding in one step less.
        levels = self._node("Add", self._node("Div", states, scale), self._constant(np.float32(_ZERO + 0.5)))
        levels = self._node("Cast", levels, to=_type("UINT8"))
        steps = np.abs(weight).max(axis=1) / np.float32(_WEIGHT_LEVELS)
        small = np.round(weight / steps[:, None]).astype(np.int8)
        inputs = [small.T, np.float32(1), steps, np.uint8(_ZERO)]
        product = self._node("MatMulIntegerToFloat", levels, *map(self._constant, inputs), domain=_CONTRIB)
        return self._node("Add", self._node("Mul", product, scale), self._constant(bias))

    def _norm(self, states: str, name: str) -> str:
        given = [self._constant(self._weights[f"{name}.{part}"]) for part in ("weight", "bias")]
        return self._node("LayerNormalization", states, *given, axis=-1, epsilon=self._epsilon)

    def _constant(self, value: Any) -> str:
        from onnx import numpy_helper

        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def _whole(self, *numbers: int) -> str:
        return self._constant(np.array(numbers, np.int64))

    def _node(self, kind: str, *inputs: str, **options: Any) -> str:
        return self._nodes_of(kind, *inputs, count=1, **options)[0]

    def _nodes_of(self, kind: str, *inputs: str, count: int, domain: str = "", **options: Any) -> Sequence[str]:
        from onnx import helper

        outputs = [f"{kind}_{len(self._nodes)}_{number}" for number in range(count)]
        self._nodes.append(helper.make_node(kind, list(inputs), outputs, domain=domain, **options))
        return outputs


def _type(name: str) -> int:
    from onnx import TensorProto

    return int(TensorProto.DataType.Value(name))
