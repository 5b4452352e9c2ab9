"""Networks that between them have every operator, geometry and fork that training must handle."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.networks import Network


def strided(per_channel: bool = True) -> tuple[Network, str]:
    net = Network((1, 13, 11, 3), seed=1, per_channel=per_channel, input_zero_point=5)
    x = net.conv("x", 8, (3, 5), (2, 2))
    x = net.conv(x, 12, (1, 1), activation="relu6")
    x = net.conv(x, 10, (3, 2), (2, 1), padding="valid", activation="none")
    return net, net.dense(net.mean(x), 5)


def per_tensor() -> tuple[Network, str]:
    return strided(per_channel=False)


def residual() -> tuple[Network, str]:
    net = Network((1, 12, 12, 3), seed=2, input_zero_point=-128)
    trunk = net.conv("x", 8, stride=(2, 2))
    for stride in ((1, 1), (1, 1)):
        x = net.conv(trunk, 24, (1, 1), activation="relu6")
        x = net.depthwise(x, stride=stride, activation="relu6")
        trunk = net.add(trunk, net.conv(x, 8, (1, 1), activation="none"))
    x = net.conv(trunk, 16, (1, 1))
    return net, net.softmax(net.dense(net.mean(x), 6))


def mobile() -> tuple[Network, str]:
    """A wide frozen front, worth to be streamed, and two inverted bottlenecks behind it."""
    net = Network((1, 24, 24, 3), seed=9, input_zero_point=-3)
    x = net.conv("x", 8, stride=(2, 2), activation="relu6")
    x = net.depthwise(net.conv(x, 48, (1, 1), activation="relu6"), stride=(2, 2))
    trunk = net.conv(x, 12, (1, 1), activation="none")
    x = net.depthwise(net.conv(trunk, 24, (1, 1), activation="relu6"), activation="relu6")
    trunk = net.add(trunk, net.conv(x, 12, (1, 1), activation="none"))
    x = net.conv(trunk, 16, (3, 3), activation="relu")
    return net, net.softmax(net.dense(net.mean(x), 5))


def three_way_fork() -> tuple[Network, str]:
    """One tensor read three times, adds with fused ReLU, and a sum with itself."""
    net = Network((1, 8, 10, 4), seed=3, input_zero_point=127)
    trunk = net.conv("x", 6, (3, 3), padding="valid")
    left = net.conv(trunk, 6, (3, 3), activation="none")
    right = net.conv(trunk, 6, (1, 1), activation="none")
    x = net.add(net.add(left, right, "relu"), trunk, "relu")
    x = net.add(x, x)
    return net, net.dense(net.flatten(net.max_pool(x, (2, 2), (2, 2), "valid")), 4)


def dilated() -> tuple[Network, str]:
    net = Network((1, 14, 13, 2), seed=4)
    x = net.conv("x", 6, (3, 3), dilation=(2, 3), padding="valid")
    x = net.depthwise(x, 1, (3, 2), dilation=(3, 1))
    x = net.conv(x, 6, (3, 3), (2, 3), dilation=(2, 1), padding=(1, 3, 2, 0))
    return net, net.dense(net.flatten(x), 3)


def depthwise_multipliers() -> tuple[Network, str]:
    net = Network((1, 11, 9, 3), seed=5, input_zero_point=-30)
    x = net.depthwise("x", 2, (3, 3), (2, 2))
    x = net.depthwise(x, 3, (5, 2), (2, 1), activation="none")
    x = net.depthwise(x, 1, (2, 3), (1, 1), (2, 2), padding="valid")
    return net, net.dense(net.mean(net.conv(x, 8, (1, 1))), 5)


def pools() -> tuple[Network, str]:
    """Averages with borders, maxima with ties, pools that clamp."""
    net = Network((1, 15, 14, 3), seed=6)
    x = net.conv("x", 6)
    x = net.max_pool(x, (3, 3), (2, 2))
    x = net.average_pool(net.conv(x, 8, (1, 1), activation="none"), (3, 3), (2, 2))
    x = net.max_pool(x, (2, 2), (1, 1), "same", "relu")
    x = net.average_pool(net.conv(x, 8, (3, 3), activation="none"), (2, 3), (1, 1), "valid", "relu")
    return net, net.dense(net.flatten(x), 4)


def padded() -> tuple[Network, str]:
    net = Network((1, 9, 9, 3), seed=7, input_zero_point=40)
    x = net.pad(net.conv("x", 6), ((0, 0), (1, 2), (0, 1), (1, 0)))
    x = net.max_pool(x, (3, 3), (2, 2), "valid")
    x = net.pad(net.conv(x, 8, (1, 1), activation="none"), ((0, 0), (1, 0), (2, 1), (0, 0)))
    return net, net.dense(net.flatten(net.average_pool(x, (2, 2), (2, 2), "valid")), 4)


def one_dimensional() -> tuple[Network, str]:
    """As Keras exports Conv1D: an axis of length one comes and goes."""
    net = Network((1, 40, 6), seed=8, input_zero_point=3)
    x = net.reshape("x", (1, 1, 40, 6))
    x = net.conv(x, 10, (1, 5), (1, 2))
    x = net.conv(x, 12, (1, 3), dilation=(1, 2))
    x = net.max_pool(x, (1, 2), (1, 2), "valid")
    x = net.mean(net.reshape(x, (1, 10, 12)))
    return net, net.softmax(net.dense(net.dense(x, 16, "relu"), 7))


def separate_activations() -> tuple[Network, str]:
    """ReLUs of their own, with another quantization than their input's; no biases."""
    net = Network((1, 8, 8, 3), seed=9)
    x = net.relu(net.conv("x", 8, (3, 3), activation="none", bias=False))
    x = net.relu(net.conv(x, 8, (3, 3), (2, 2), activation="none"), "relu6")
    skip = net.conv(x, 8, (1, 1), activation="none")
    x = net.relu(net.add(skip, net.depthwise(skip, activation="none")))
    return net, net.dense(net.flatten(net.average_pool(x, (4, 4), (4, 4))), 5, bias=False)


def requantized() -> tuple[Network, str]:
    """QUANTIZE in the middle, to a range that is too narrow for a tenth of the values."""
    net = Network((1, 8, 8, 3), seed=11)
    x = net.conv("x", 8, (3, 3), (2, 2), activation="none")
    x = net.requantize(x, 0.6)
    x = net.conv(x, 8, (3, 3))
    return net, net.dense(net.flatten(x), 5)


def rows_of_pixels() -> tuple[Network, str]:
    """Fully connected layers over many rows, and a convolution as the classifier."""
    net = Network((1, 6, 7, 5), seed=10, input_zero_point=-100)
    x = net.dense("x", 9, "relu")
    x = net.dense(x, 6, "relu")
    x = net.conv(x, 5, (6, 7), padding="valid", activation="none")
    return net, net.reshape(x, (1, 5))


def transposed() -> tuple[Network, str]:
    """Channels first, as models that come from PyTorch have them."""
    net = Network((1, 3, 8, 9), seed=12, input_zero_point=-20)
    x = net.conv(net.transpose("x", (0, 2, 3, 1)), 6, (3, 3), (2, 2))
    x = net.transpose(net.conv(x, 8, (1, 1)), (0, 3, 1, 2))
    return net, net.dense(net.flatten(net.transpose(x, (0, 2, 1, 3))), 4)


def moved() -> tuple[Network, str]:
    """Channels split, mirrored and joined again; rows taken by steps, a map made larger."""
    net = Network((1, 8, 7, 3), seed=13, input_zero_point=-30)
    x = net.conv("x", 8, (3, 3), activation="none")
    left = net.slice(x, (0, 0, 0, 0), (1, 1, 1, 1), (1, 8, 7, 3))
    right = net.slice(x, (0, 7, 0, 3), (1, -1, 1, 1), (1, 8, 7, 5))
    x = net.conv(net.concatenate([right, left, right], 3), 6, (3, 3), (2, 2))
    x = net.slice(x, (0, 0, 0, 0), (1, 2, 1, 1), (1, 2, 4, 6))
    x = net.conv(net.gather(x, 1, (0, 0, 1, 1, 0)), 6, (3, 3))
    x = net.concatenate([x, net.gather(x, 2, (2, 1, 2, 0))], 1)
    return net, net.dense(net.flatten(x), 4)


def products(seed: int = 15) -> tuple[Network, str]:
    """Attention without its softmax: products of computed matrices, transposed or not, one factor
    serving several batches."""
    net = Network((1, 3, 5, 6), seed=seed, input_zero_point=-11)
    q, k, v = (net.dense("x", 6, activation) for activation in ("none", "none", "relu"))
    scores = net.matmul(q, k, adj_y=True)
    x = net.matmul(scores, v)
    shared = net.dense(net.slice("x", (0, 1, 0, 0), (1, 1, 1, 1), (1, 1, 5, 6)), 4)
    x = net.matmul(x, shared, adj_x=True)
    x = net.matmul(net.dense(net.slice("x", (0, 2, 0, 0), (1, 1, 1, 1), (1, 1, 5, 6)), 6), x)
    return net, net.dense(net.flatten(x), 4)


def squeeze_excite(seed: int = 44) -> tuple[Network, str]:
    """[1, H, W, C] times a gate [1, 1, 1, C] of sigmoids, inside a residual block."""
    net = Network((1, 10, 9, 3), seed=seed)
    x = net.conv("x", 8, stride=(2, 2))
    gate = net.mean(x, (1, 2), keep_dims=True)
    gate = net.conv(gate, 12, (1, 1))
    gate = net.pointwise("logistic", net.conv(gate, 8, (1, 1), activation="none"))
    x = net.add(x, net.binary("mul", x, gate))
    return net, net.dense(net.mean(x), 5)


def upsampled() -> tuple[Network, str]:
    """A transposed convolution between two others, as the importer writes it."""
    net = Network((1, 7, 6, 3), seed=16, input_zero_point=-9)
    x = net.conv("x", 5, (3, 3), (2, 2))
    x = net.conv(net.spread(x, (2, 3)), 4, (3, 4), padding=(1, 2, 2, 3))
    return net, net.dense(net.flatten(net.conv(x, 4, (3, 3), (2, 2))), 4)


Architecture = Callable[..., tuple[Network, str]]
ARCHITECTURES: tuple[Architecture, ...] = (
    strided,
    per_tensor,
    residual,
    three_way_fork,
    dilated,
    depthwise_multipliers,
    pools,
    padded,
    one_dimensional,
    separate_activations,
    requantized,
    rows_of_pixels,
    transposed,
    moved,
    products,
    upsampled,
)
