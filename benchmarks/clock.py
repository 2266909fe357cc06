"""A clock that times epochs as poolstudy does, so that all contenders' seconds mean the same."""

import time

import keras


class EpochClock(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """Seconds of each epoch, training and validation. To be the first callback: what the others do is not counted."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002  # Keras' signature
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
        self.seconds.append(time.perf_counter() - self._began)
