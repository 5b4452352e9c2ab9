"""The float network: a stem and four inverted bottlenecks on 100 × 6 samples, two with a residual.

27 thousand parameters, 0.5 million multiplications: small enough for a Cortex-M0, deep enough that
it matters which layers learn. Every convolution is followed by batch normalisation, which the
converter folds into weights and biases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from data import CHANNELS, EXERCISES, WINDOW, Windows

if TYPE_CHECKING:
    import keras

EPOCHS = 8
BATCH = 64
LEARNING_RATE = 4e-3  # of Adam, falling to 0 along a cosine
NORM_MOMENTUM = 0.9  # Keras's 0.99 does not settle in so few steps


def build_model() -> keras.Model:
    """The untrained network: [batch, 100, 6] float32 to probabilities [batch, 7]."""
    import keras
    from keras import layers

    def normalised(x: keras.KerasTensor, layer: layers.Layer, relu: bool) -> keras.KerasTensor:
        x = layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"{layer.name}_norm")(layer(x))
        return layers.ReLU(name=f"{layer.name}_relu")(x) if relu else x

    def conv(
        x: keras.KerasTensor, name: str, filters: int, kernel: int, stride: int, relu: bool
    ) -> keras.KerasTensor:
        layer = layers.Conv1D(
            filters, kernel, strides=stride, padding="same", use_bias=False, name=name
        )
        return normalised(x, layer, relu)

    def bottleneck(
        x: keras.KerasTensor, name: str, expanded: int, filters: int, stride: int
    ) -> keras.KerasTensor:
        y = conv(x, f"{name}_expand", expanded, 1, 1, relu=True)
        depthwise = layers.DepthwiseConv1D(
            5, strides=stride, padding="same", use_bias=False, name=f"{name}_depthwise"
        )
        y = normalised(y, depthwise, relu=True)
        y = conv(y, f"{name}_project", filters, 1, 1, relu=False)
        residual = stride == 1 and x.shape[-1] == filters
        return layers.Add(name=f"{name}_add")([x, y]) if residual else y

    window = keras.Input((WINDOW, CHANNELS), name="input")
    x = conv(window, "stem", 24, 5, 2, relu=True)
    x = bottleneck(x, "block1", 48, 32, stride=2)
    x = bottleneck(x, "block2", 64, 32, stride=1)
    x = bottleneck(x, "block3", 64, 48, stride=2)
    x = bottleneck(x, "block4", 96, 48, stride=1)
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    x = layers.Dense(len(EXERCISES), name="head")(x)
    return keras.Model(window, layers.Softmax(name="softmax")(x), name="gesture")


def train_model(windows: Windows, seed: int = 1, epochs: int = EPOCHS) -> keras.Model:
    """A network trained on the windows with Adam; about half a minute on two slow cores."""
    from tinykit.importers.keras import import_tensorflow, quiet

    import_tensorflow()
    import keras

    keras.utils.set_random_seed(seed)
    with quiet():
        model = build_model()
        steps = -(-len(windows) // BATCH) * epochs
        schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
        model.compile(
            optimizer=keras.optimizers.Adam(schedule), loss="sparse_categorical_crossentropy"
        )
        model.fit(windows.x, windows.y, batch_size=BATCH, epochs=epochs, verbose=0)
    return model
