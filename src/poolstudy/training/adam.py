"""Adam in one operation a variable."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

Gradients = Sequence[tf.Tensor]


def optimizer_step(model: keras.Model) -> Callable[[Gradients], None]:
    """Return a function that updates the model's trainable weights, by the optimizer that it was compiled with.

    A plain `keras.optimizers.Adam` is computed by `FusedAdam`, to the same values but for float noise.
    """
    optimizer = model.optimizer
    if type(optimizer) is keras.optimizers.Adam and _is_plain(optimizer):
        return FusedAdam(optimizer, [variable.value for variable in model.trainable_variables]).apply
    optimizer.build(model.trainable_variables)
    return lambda gradients: optimizer.apply(gradients, model.trainable_variables)


def _is_plain(optimizer: keras.optimizers.Adam) -> bool:
    """Return whether nothing but its rates differs from Keras' defaults: no schedule, decay or clipping."""
    rates = ("name", "learning_rate", "beta_1", "beta_2", "epsilon")
    own, usual = optimizer.get_config(), keras.optimizers.Adam().get_config()
    return isinstance(own["learning_rate"], float) and all(own[key] == usual[key] for key in usual if key not in rates)


class FusedAdam:
    """Adam (Kingma & Ba 2015, https://arxiv.org/abs/1412.6980) as Keras computes it, by TensorFlow's one operation.

    Keras takes some ten operations a variable, each of which reads and writes all of it: this saves 6 % of the
    notebook's step. Its moments are not saved with the model.

    Args:
        optimizer: whose rates it has.
        variables: updated in place.
    """

    def __init__(self, optimizer: keras.optimizers.Adam, variables: Sequence[tf.Variable]) -> None:
        self._variables = variables
        self._means = [tf.Variable(tf.zeros_like(variable)) for variable in variables]
        self._squares = [tf.Variable(tf.zeros_like(variable)) for variable in variables]
        self._steps = tf.Variable(0.0)
        rates = optimizer.get_config()
        self._constants = {
            "lr": rates["learning_rate"],
            "beta1": rates["beta_1"],
            "beta2": rates["beta_2"],
            "epsilon": rates["epsilon"],
        }

    def apply(self, gradients: Gradients) -> None:
        """Take one step, with one gradient a variable."""
        steps = self._steps.assign_add(1.0)
        powers = {f"beta{i}_power": tf.pow(self._constants[f"beta{i}"], steps) for i in (1, 2)}
        for variable, mean, square, gradient in zip(
            self._variables, self._means, self._squares, gradients, strict=True
        ):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle, m=mean.handle, v=square.handle, grad=gradient, **powers, **self._constants
            )
