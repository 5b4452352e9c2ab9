"""Convolutions that train as several branches and are deployed as one (RepVGG, Ding et al. 2021).

    x = branched_conv2d(32, strides=2)(x)       # batch normalizations of a kxk, a 1x1, the identity
    ...
    model.fit(...)
    deployed = deploy(model)                    # the same function, one Conv2D in place of each
    quantize(deployed, samples, out)

All branches are linear in x, so their sum is one kxk convolution: a 1x1 kernel, and an identity,
lie in the middle of it; a batch normalization with scale g, shift b, mean m and variance v
multiplies a kernel by g / sqrt(v + e) and leaves the bias b - m g / sqrt(v + e).  Exact but for
float32's rounding.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tinykit.errors import ModelError
from tinykit.importers.keras import import_tensorflow

if TYPE_CHECKING:
    import keras

    from tinykit.ir import Array


def branched_conv2d(
    filters: int,
    kernel_size: int = 3,
    strides: int = 1,
    activation: str | None = None,
    **named: Any,
) -> keras.layers.Layer:
    """A Keras layer: SAME convolutions kxk and 1x1 and, where input and output have one shape, the
    identity, each batch-normalized; their sum, then the activation.

    kernel_size: odd.  named: `name` and what else a Keras layer takes.  Raises ModelError.
    """
    if kernel_size % 2 == 0:
        raise ModelError(
            f"a branched convolution of {kernel_size}x{kernel_size}",
            "its 1x1 branch lies in the middle: kernel_size = 1, 3, 5, …",
        )
    return _layer_class()(filters, kernel_size, strides, activation, **named)


def deploy(model: keras.Model) -> keras.Model:
    """A model that computes the same with one Conv2D in place of each branched convolution."""
    tf = import_tensorflow()

    def plain(layer: Any) -> Any:
        if not isinstance(layer, _layer_class()):
            return layer.__class__.from_config(layer.get_config())
        return tf.keras.layers.Conv2D(
            layer.filters,
            layer.kernel_size,
            layer.strides,
            "same",
            activation=layer.activation,
            name=layer.name,
        )

    result = tf.keras.models.clone_model(model, clone_function=plain)
    for old, new in zip(model.layers, result.layers, strict=True):
        fused = isinstance(old, _layer_class())
        new.set_weights(old.fused() if fused else old.get_weights())
    return result


def fused_branch(kernel: Array, norm: tuple[Array, Array, Array, Array], e: float) -> list[Array]:
    """[kernel, bias] of a convolution without bias and the batch normalization behind it.

    kernel: [KH, KW, C, O]; norm: scale, shift, mean and variance [O]; e: added to the variance.
    """
    scale, shift, mean, variance = (np.asarray(part, np.float64) for part in norm)
    factor = scale / np.sqrt(variance + e)
    return [kernel * factor, shift - mean * factor]


@cache
def _layer_class() -> Any:
    """The class, once TensorFlow is there."""
    layers = import_tensorflow().keras.layers

    class BranchedConv2D(layers.Layer):  # type: ignore[misc, name-defined]
        """See branched_conv2d."""

        def __init__(
            self,
            filters: int,
            kernel_size: int,
            strides: int,
            activation: str | None = None,
            **named: Any,
        ) -> None:
            super().__init__(**named)
            self.filters, self.kernel_size, self.strides = filters, kernel_size, strides
            self.activation = layers.Activation(activation).activation
            sizes = (kernel_size, 1) if kernel_size > 1 else (1,)
            self.convolutions = [
                layers.Conv2D(filters, size, strides, "same", use_bias=False) for size in sizes
            ]
            self.norms = [layers.BatchNormalization() for _ in sizes]
            self.identity = layers.BatchNormalization()
            self.passes = False

        def get_config(self) -> dict[str, Any]:
            own = {
                "filters": self.filters,
                "kernel_size": self.kernel_size,
                "strides": self.strides,
                "activation": layers.Activation(self.activation).get_config()["activation"],
            }
            return {**super().get_config(), **own}

        def build(self, shape: tuple[int, ...]) -> None:
            self.passes = self.strides == 1 and shape[-1] == self.filters
            for convolution, norm in zip(self.convolutions, self.norms, strict=True):
                convolution.build(shape)
                norm.build(convolution.compute_output_shape(shape))
            if self.passes:
                self.identity.build(shape)
            super().build(shape)

        def call(self, x: Any, training: bool | None = None) -> Any:
            branches = [
                norm(convolution(x), training=training)
                for convolution, norm in zip(self.convolutions, self.norms, strict=True)
            ]
            if self.passes:
                branches.append(self.identity(x, training=training))
            return self.activation(sum(branches[1:], branches[0]))

        def fused(self) -> list[Array]:
            """[kernel, bias] of the one convolution."""
            kernels = [convolution.get_weights()[0] for convolution in self.convolutions]
            norms = list(self.norms)
            if self.passes:
                kernels.append(np.eye(self.filters)[None, None])
                norms.append(self.identity)
            whole = np.zeros((self.kernel_size, self.kernel_size, *kernels[0].shape[2:]))
            bias = np.zeros(self.filters)
            for kernel, norm in zip(kernels, norms, strict=True):
                part, shift = fused_branch(kernel, tuple(norm.get_weights()), norm.epsilon)
                edge = (self.kernel_size - len(kernel)) // 2
                whole[edge : edge + len(kernel), edge : edge + len(kernel)] += part
                bias += shift
            return [whole.astype(np.float32), bias.astype(np.float32)]

    return BranchedConv2D


__all__ = ["branched_conv2d", "deploy", "fused_branch"]
