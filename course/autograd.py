"""Reverse-mode automatic differentiation on single numbers: the engine of chapter 3, and a network built on it.

The notebook 03-backpropagation builds the same definitions before the reader, and a test compares them. The idea of a
graph of scalars with `data`, `grad` and `backward` is that of Andrej Karpathy's micrograd; here a node keeps its local
slopes instead of a closure, so that one line is the whole backward pass, and the sweep waits like a settling of bills.
"""

import math
import random
from collections import Counter
from collections.abc import Sequence
from numbers import Real


class Value:
    """A number that remembers how it was computed.

    `data` is the number, `parents` are the values it was computed from, `slopes`
    its derivative by each of them. `grad` is the derivative, by this number, of the
    value that `backward` was called on. As in PyTorch, a second `backward` adds to
    `grad`: set it to 0 before.

    Raises:
        TypeError: `data` is no number.
        ValueError: `data` or a slope is NaN or infinite.
    """

    def __init__(
        self,
        data: float,
        parents: "tuple[Value, ...]" = (),
        slopes: tuple[float, ...] = (),
        label: str = "",
    ) -> None:
        if not isinstance(data, (float, Real)):
            kind = type(data).__name__
            raise TypeError(f"Value needs a number, not {kind} ({data!r}).")
        if not math.isfinite(data):
            raise ValueError(f"Value({data}): only finite numbers have gradients.")
        if not all(map(math.isfinite, slopes)):
            raise ValueError(f"The step {label!r} has no finite slope at {data}.")
        self.data = float(data)
        self.grad = 0.0
        self.parents = parents
        self.slopes = slopes
        self.label = label

    def __repr__(self) -> str:
        name = f"{self.label}: " if self.label else ""
        return f"Value({name}data={self.data:.6g}, grad={self.grad:.6g})"

    def __add__(self, other: "Value | float") -> "Value":
        other = as_value(other)
        return Value(self.data + other.data, (self, other), (1.0, 1.0), "+")

    def __mul__(self, other: "Value | float") -> "Value":
        other = as_value(other)
        slopes = (other.data, self.data)
        return Value(self.data * other.data, (self, other), slopes, "×")

    def __sub__(self, other: "Value | float") -> "Value":
        other = as_value(other)
        return Value(self.data - other.data, (self, other), (1.0, -1.0), "-")

    def __truediv__(self, other: "Value | float") -> "Value":
        other = as_value(other)
        if other.data == 0:
            raise ZeroDivisionError(f"{self!r} cannot be divided by zero.")
        quotient = self.data / other.data
        slopes = (1 / other.data, -quotient / other.data)
        return Value(quotient, (self, other), slopes, "÷")

    def __pow__(self, exponent: float) -> "Value":
        if not isinstance(exponent, Real):
            kind = type(exponent).__name__
            raise TypeError(f"The exponent of ** must be a plain number, not {kind}.")
        if self.data < 0 and not float(exponent).is_integer():
            raise ValueError(f"{self.data} ** {exponent} is no real number.")
        if self.data == 0 and exponent < 1 and exponent != 0:
            raise ZeroDivisionError(f"0 ** {exponent} has no finite slope.")
        try:
            power = self.data**exponent
            slope = exponent * self.data ** (exponent - 1) if exponent else 0.0
        except OverflowError:
            message = f"{self.data} ** {exponent} is too large for a float."
            raise OverflowError(message) from None
        return Value(power, (self,), (slope,), f"^{exponent}")

    def exp(self) -> "Value":
        """Return e to this power."""
        if self.data > 709:
            raise OverflowError(f"exp({self.data}) is too large for a float.")
        power = math.exp(self.data)
        return Value(power, (self,), (power,), "exp")

    def tanh(self) -> "Value":
        """Return the hyperbolic tangent."""
        height = math.tanh(self.data)
        return Value(height, (self,), (1 - height**2,), "tanh")

    def relu(self) -> "Value":
        """Return the number where it is positive, else 0; the slope at 0 is 0."""
        is_on = self.data > 0
        return Value(self.data if is_on else 0.0, (self,), (float(is_on),), "relu")

    def __neg__(self) -> "Value":
        return self * -1.0

    def __radd__(self, other: float) -> "Value":
        return self + other

    def __rmul__(self, other: float) -> "Value":
        return self * other

    def __rsub__(self, other: float) -> "Value":
        return as_value(other) - self

    def __rtruediv__(self, other: float) -> "Value":
        return as_value(other) / self

    def topological_order(self) -> "list[Value]":
        """Return this value and all it depends on; users come before what they use.

        Raises:
            ValueError: a value depends on itself.
        """
        uses: Counter[Value] = Counter()
        seen, to_visit = {self}, [self]
        while to_visit:
            for parent in to_visit.pop().parents:
                uses[parent] += 1
                if parent not in seen:
                    seen.add(parent)
                    to_visit.append(parent)
        order, ready = [], [] if uses[self] else [self]
        while ready:
            order.append(ready.pop())
            for parent in order[-1].parents:
                uses[parent] -= 1
                if uses[parent] == 0:
                    ready.append(parent)
        if len(order) < len(seen):
            user = {p: node for node in seen.difference(order) for p in node.parents}
            node = next(iter(user))
            # whoever walks on from user to user ends up on the cycle
            for _ in user:
                node = user[node]
            raise ValueError(f"The graph has a cycle: {node!r} depends on itself.")
        return order

    def backward(self) -> None:
        """Add to the `grad` of every value in the graph the derivative of this one.

        Raises:
            ValueError: a value depends on itself.
        """
        order = self.topological_order()
        share = dict.fromkeys(order, 0.0)
        share[self] = 1.0
        for node in order:
            node.grad += share[node]
            for parent, slope in zip(node.parents, node.slopes, strict=True):
                share[parent] += slope * share[node]


def as_value(number: Value | float) -> Value:
    """Return `number` itself where it is a Value, else a new Value.

    Raises:
        TypeError, ValueError: as for `Value`.
    """
    return number if isinstance(number, Value) else Value(number)


class Neuron:
    """A weighted sum of its inputs plus a bias, passed through an activation.

    Args:
        inputs: how many numbers it takes.
        activation: "tanh", "relu" or "linear".
        rng: draws the weights from N(0, 1 / inputs); the bias starts at 0.

    Raises:
        ValueError: it takes no input, or the activation is unknown.
    """

    def __init__(self, inputs: int, activation: str, rng: random.Random) -> None:
        if inputs < 1:
            raise ValueError(f"A neuron needs at least one input, not {inputs}.")
        if activation not in ("tanh", "relu", "linear"):
            raise ValueError(f"No activation {activation!r}: tanh, relu or linear.")
        scale = inputs**-0.5
        self.weights = [Value(rng.gauss(0, scale)) for _ in range(inputs)]
        self.bias = Value(0.0)
        self.activation = activation

    def __call__(self, inputs: Sequence[Value | float]) -> Value:
        """Return the output.

        Raises:
            ValueError: there are more or fewer inputs than weights.
        """
        if len(inputs) != len(self.weights):
            expected = len(self.weights)
            raise ValueError(f"{expected} inputs are needed, not {len(inputs)}.")
        total = self.bias
        for weight, value in zip(self.weights, inputs, strict=True):
            total = total + weight * value
        return total if self.activation == "linear" else getattr(total, self.activation)()

    def parameters(self) -> list[Value]:
        """Return the weights and the bias."""
        return [*self.weights, self.bias]


class Layer:
    """Neurons side by side: all see the same inputs."""

    def __init__(self, inputs: int, outputs: int, activation: str, rng: random.Random) -> None:
        if outputs < 1:
            raise ValueError(f"A layer needs at least one neuron, not {outputs}.")
        self.neurons = [Neuron(inputs, activation, rng) for _ in range(outputs)]

    def __call__(self, inputs: Sequence[Value | float]) -> list[Value]:
        """Return one output a neuron; raises ValueError as `Neuron` does."""
        return [neuron(inputs) for neuron in self.neurons]

    def parameters(self) -> list[Value]:
        """Return the parameters of all neurons."""
        return [p for neuron in self.neurons for p in neuron.parameters()]


class MLP:
    """Layers one after the other; the last is linear.

    Args:
        sizes: how many inputs, then how many neurons in each layer.
        activation: of the hidden layers, "tanh" or "relu".
        rng: draws the weights.

    Raises:
        ValueError: no layer, a size below 1, or an unknown activation.
    """

    def __init__(self, sizes: Sequence[int], activation: str, rng: random.Random) -> None:
        if len(sizes) < 2:
            raise ValueError(f"sizes {sizes}: inputs and at least one layer are needed.")
        if activation not in ("tanh", "relu"):
            raise ValueError(f"No activation {activation!r} for hidden layers: tanh, relu.")
        last = len(sizes) - 2
        self.layers = [
            Layer(sizes[i], sizes[i + 1], activation if i < last else "linear", rng) for i in range(last + 1)
        ]

    def __call__(self, inputs: Sequence[Value | float]) -> list[Value]:
        """Return the last layer's outputs; raises ValueError as `Neuron` does."""
        for layer in self.layers:
            inputs = layer(inputs)
        return list(inputs)

    def parameters(self) -> list[Value]:
        """Return the parameters of all layers."""
        return [p for layer in self.layers for p in layer.parameters()]
