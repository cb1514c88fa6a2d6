"""Feature losses under `tf.distribute`: two replicas do what one device does."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

TWO_REPLICAS = """
    import keras
    import numpy as np
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

    import tfdistill as td

    x = np.random.default_rng(0).integers(1, 8, (16, 5))

    def encoder(seed, hidden_dim):
        return td.students.text_encoder(
            vocabulary_size=8, sequence_length=5, num_layers=1, hidden_dim=hidden_dim,
            num_heads=2, intermediate_dim=8, num_classes=2, dropout=0.0, seed=seed,
        )

    def trained(strategy):
        keras.utils.set_random_seed(3)
        with strategy.scope():
            pairs = [
                td.FeatureLoss(teacher="encoder_0", student="encoder_0", loss=loss)
                for loss in ("hidden_mse", "attention_kl", "relation_kl")
            ]
            made = td.Distiller(
                student=encoder(1, 4), teacher=encoder(2, 8), feature_losses=pairs
            )
            made.compile(keras.optimizers.SGD(0.1))
        logs = made.fit(
            x, np.arange(16) % 2, batch_size=8, epochs=2, shuffle=False, verbose=0
        ).history
        return [v.numpy() for v in made.trainable_variables] + [np.array(v) for v in logs.values()]

    one = trained(tf.distribute.get_strategy())
    two = trained(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
    print(len(one), max(float(np.abs(a - b).max()) for a, b in zip(one, two, strict=True)))
"""


@pytest.mark.slow
def test_two_replicas_train_projector_and_student_as_one_device_does():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(TWO_REPLICAS)],
        capture_output=True,
        text=True,
        check=True,
    )
    count, difference = done.stdout.split()[-2:]
    assert int(count) == 22 + 2 + 6  # weights of the student, of the projector, columns
    assert float(difference) < 1e-5  # measured 2.4e-7
