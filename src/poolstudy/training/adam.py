"""Adam in one operation a variable."""

from collections.abc import Sequence

import tensorflow as tf


class Adam:
    """Adam (Kingma & Ba 2015, https://arxiv.org/abs/1412.6980) as Keras computes it, with Keras' defaults.

    Keras takes some ten operations a variable, each of which reads and writes all of it; TensorFlow has them in
    one: 6 % of the notebook's step. Its state belongs to a trial's last epoch and is not saved.

    Args:
        variables: updated in place.
    """

    def __init__(
        self,
        variables: Sequence[tf.Variable],
        learning_rate: float,
        *,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
    ) -> None:
        self._variables = variables
        self._means = [tf.Variable(tf.zeros_like(variable)) for variable in variables]
        self._squares = [tf.Variable(tf.zeros_like(variable)) for variable in variables]
        self._steps = tf.Variable(0.0)
        self._constants = {"lr": learning_rate, "beta1": beta_1, "beta2": beta_2, "epsilon": epsilon}

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """Takes one step.

        Args:
            gradients: one a variable.
        """
        steps = self._steps.assign_add(1.0)
        powers = {f"beta{i}_power": tf.pow(self._constants[f"beta{i}"], steps) for i in (1, 2)}
        for variable, mean, square, gradient in zip(
            self._variables, self._means, self._squares, gradients, strict=True
        ):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle, m=mean.handle, v=square.handle, grad=gradient, **powers, **self._constants
            )
