"""Clock that times epochs as poolstudy does, so that the seconds of all contenders mean the same."""

import time

import keras


class EpochClock(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """Seconds of each epoch, training and validation. As the first callback it does not count the others."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002  # Keras' signature
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
        self.seconds.append(time.perf_counter() - self._began)
