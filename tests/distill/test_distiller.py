"""The Distiller's promises: what moves, what stays, and which number comes out."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdistill import Distiller, losses

LN3 = math.log(3.0)
RNG = np.random.default_rng(3)
X = RNG.normal(size=(64, 4)).astype("float32")
Y = RNG.integers(0, 3, 64).astype("int32")


def classifier(units: int = 6, *, classes: int = 3, name: str = "net") -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(units, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(classes),
        ],
        name=name,
    )


class Bare(keras.Model):
    """A teacher whose `call` knows nothing of `training`."""

    def __init__(self):
        super().__init__()
        self.norm = keras.layers.BatchNormalization()
        self.drop = keras.layers.Dropout(0.5)
        self.dense = keras.layers.Dense(3)

    def call(self, inputs):
        return self.dense(self.drop(self.norm(inputs)))


def built_bare() -> keras.Model:
    teacher = Bare()
    teacher(X)
    return teacher


def zero_student(classes: int = 2) -> keras.Model:
    """A student whose logits are its bias, which is zero."""
    return keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(classes, kernel_initializer="zeros")]
    )


def always(*logits: float):
    return lambda inputs: tf.tile(tf.constant([logits]), [tf.shape(inputs)[0], 1])


def eager(student: keras.Model, teacher, optimizer="sgd", **settings) -> Distiller:
    """A Distiller for a batch or two, which is quicker than to trace it."""
    distiller = Distiller(student=student, teacher=teacher)
    distiller.compile(optimizer, **settings)
    distiller.run_eagerly = True
    return distiller


def values(model: keras.Model) -> list[np.ndarray]:
    return [variable.numpy().copy() for variable in model.variables]


def fitted(student: keras.Model, teacher, x=X, y=Y, *, epochs: int = 2, **settings):
    settings.setdefault("optimizer", keras.optimizers.SGD(0.1))
    distiller = Distiller(student=student, teacher=teacher)
    distiller.compile(**settings)
    distiller.fit(x, y, epochs=epochs, batch_size=16, verbose=0)
    return distiller


@pytest.mark.parametrize("make", [classifier, built_bare])
@pytest.mark.parametrize("trainable", [True, False])
def test_teacher_weights_and_flags_are_bit_identical_after_fit(make, trainable: bool):
    teacher = make()
    teacher.trainable = trainable
    before = values(teacher)  # batch statistics and dropout seeds included
    flags = [layer.trainable for layer in teacher._flatten_layers()]
    fitted(classifier(4), teacher)

    for now, then in zip(values(teacher), before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert teacher.trainable is trainable
    assert [layer.trainable for layer in teacher._flatten_layers()] == flags


def test_the_teacher_of_these_tests_would_change_in_training_mode():
    teacher = classifier()
    before = values(teacher)
    teacher(X, training=True)

    changed = [(now != then).any() for now, then in zip(values(teacher), before, strict=True)]
    assert sum(changed) == 3  # moving mean, moving variance, dropout seed


def test_the_given_student_is_the_one_that_learns():
    student = classifier(4)
    before = values(student)
    distiller = fitted(student, classifier())

    assert distiller.student is student
    assert all((now != then).any() for now, then in zip(values(student), before, strict=True))
    np.testing.assert_array_equal(distiller(X), student(X))


def test_only_the_students_variables_are_trained_and_stored():
    student, teacher = classifier(4), classifier()
    distiller = fitted(student, teacher)
    own = {id(variable) for variable in teacher.variables}

    assert distiller.trainable_variables == student.trainable_variables
    assert len(distiller.optimizer.variables) == 2  # iterations and learning rate of plain SGD
    assert teacher not in distiller._flatten_layers()
    assert not own & {id(variable) for variable in distiller.variables}


def test_the_student_comes_to_answer_as_the_teacher():
    # Equal architectures, so that a swap would train the teacher towards the student.
    student, teacher = classifier(name="student"), classifier(name="teacher")
    distiller = Distiller(student=student, teacher=teacher)
    distiller.compile(keras.optimizers.Adam(0.05), alpha=0.0)
    before = distiller.evaluate(X, Y, verbose=0, return_dict=True)["soft_loss"]
    answers = teacher.predict(X, verbose=0)
    distiller.fit(X, Y, epochs=10, verbose=0)
    after = distiller.evaluate(X, Y, verbose=0, return_dict=True)["soft_loss"]

    assert after < before / 2
    np.testing.assert_array_equal(teacher.predict(X, verbose=0), answers)


def test_loss_of_a_batch_equals_the_hand_computed_one():
    # Student (½, ½), teacher softened at T = 2 to (¼, ¾): soft 0.5232, hard ln 2. With the
    # roles swapped the soft term would be 4 · (½·ln 2 + ½·ln ⅔) = 0.5754.
    distiller = eager(zero_student(), always(0.0, 2 * LN3), "sgd", alpha=0.1, temperature=2.0)
    logs = distiller.evaluate(np.ones((4, 1)), np.zeros(4, int), verbose=0, return_dict=True)

    assert logs["hard_loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert logs["soft_loss"] == pytest.approx(0.5232, abs=5e-5)
    assert logs["loss"] == pytest.approx(0.1 * math.log(2) + 0.9 * 0.52325, abs=1e-5)


def test_step_of_the_student_equals_the_hand_computed_gradient():
    # Label 0: hard gradient (½ − 1, ½); soft gradient T·(q − p) = (½, −½).
    # 0.1 · (−½, ½) + 0.9 · (½, −½) = (0.4, −0.4), and SGD at rate 1 goes against it.
    student = zero_student()
    distiller = eager(
        student, always(0.0, 2 * LN3), keras.optimizers.SGD(1.0), alpha=0.1, temperature=2.0
    )
    distiller.fit(np.zeros((4, 1)), np.zeros(4, int), batch_size=4, verbose=0)

    np.testing.assert_allclose(student.layers[0].bias, [-0.4, 0.4], atol=1e-6)  # float32


def test_a_confidently_wrong_student_moves_at_full_speed():
    student = zero_student()
    student.layers[0].bias.assign([0.0, 30.0])
    distiller = eager(
        student, always(30.0, 0.0), keras.optimizers.SGD(1.0), alpha=0.0, temperature=1.0
    )
    distiller.fit(np.zeros((2, 1)), np.zeros(2, int), batch_size=2, verbose=0)

    np.testing.assert_allclose(student.layers[0].bias, [1.0, 29.0], atol=1e-5)


def test_rows_without_a_label_are_taught_by_the_teacher_alone():
    # Row 0 has label 0, row 1 none. Hard: mean of (ln 2, 0), gradient (−¼, ¼); soft as above.
    student = zero_student()
    distiller = eager(
        student, always(0.0, 2 * LN3), keras.optimizers.SGD(1.0), alpha=0.5, temperature=2.0
    )
    history = distiller.fit(np.zeros((2, 1)), np.array([[1.0, 0], [0, 0]]), verbose=0).history

    assert history["hard_loss"] == [pytest.approx(math.log(2) / 2, abs=1e-6)]
    assert history["soft_loss"] == [pytest.approx(0.52325, abs=1e-5)]
    np.testing.assert_allclose(student.layers[0].bias, [-0.125, 0.125], atol=1e-6)


def test_labels_of_zeros_alone_leave_the_student_as_it_was():
    student = classifier(4)
    before = [variable.numpy() for variable in student.trainable_variables]
    fitted(student, classifier(), y=np.zeros((64, 3)), alpha=1.0)

    for now, then in zip(student.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_texts_alone_are_enough():
    student = zero_student()
    distiller = eager(
        student, always(0.0, 2 * LN3), keras.optimizers.SGD(1.0), alpha=0.1, temperature=2.0
    )
    history = distiller.fit(np.zeros((2, 1)), batch_size=2, verbose=0).history

    assert history["hard_loss"] == [0.0]
    assert history["loss"] == [pytest.approx(0.9 * 0.52325, abs=1e-5)]
    np.testing.assert_allclose(student.layers[0].bias, [-0.45, 0.45], atol=1e-6)


@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_a_smaller_last_batch_counts_by_its_rows(method: str):
    # Batches of 4 rows and 1. The teacher softens to (½, ½) on the first four rows, as the student
    # does, and to (0.1, 0.9) on the fifth. The loss on labels is ln 2, on the fifth row twice that.
    x = np.array([[0.0], [0.0], [0.0], [0.0], [1.0]])
    y = np.array([0, 0, 0, 0, 1])

    def twice_for_one(y, logits):
        loss = keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
        return loss * (1.0 + tf.cast(tf.reshape(y, [-1]), loss.dtype))

    distiller = Distiller(student=zero_student(), teacher=lambda x: x * [[0.0, 4 * LN3]])
    distiller.compile(keras.optimizers.SGD(0.0), loss=twice_for_one, alpha=0.5, temperature=2.0)
    if method == "fit":
        history = distiller.fit(x, y, batch_size=4, shuffle=False, verbose=0).history
        logs = {name: value for name, (value,) in history.items()}
    else:
        logs = distiller.evaluate(x, y, batch_size=4, verbose=0, return_dict=True)

    divergence = math.log(2) + 0.1 * math.log(0.1) + 0.9 * math.log(0.9)
    soft = 2.0**2 * divergence / 5  # a mean over the two batches would be 2.5 times that
    hard = (4 * 1 + 1 * 2) * math.log(2) / 5
    assert logs["soft_loss"] == pytest.approx(soft, abs=1e-5)
    assert logs["hard_loss"] == pytest.approx(hard, abs=1e-5)
    assert logs["loss"] == pytest.approx(0.5 * hard + 0.5 * soft, abs=1e-5)


def test_weights_of_rows_hold_for_both_losses():
    # Weights (3, 0): the mean over two rows is 3/2 of the first row's loss.
    x = np.array([[0.0], [1.0]])
    distiller = eager(zero_student(), lambda inputs: inputs * [[0.0, 9.0]], "sgd", alpha=0.5)
    logs = distiller.evaluate(
        x, np.zeros(2, int), sample_weight=np.array([3.0, 0.0]), verbose=0, return_dict=True
    )

    assert logs["hard_loss"] == pytest.approx(1.5 * math.log(2), abs=1e-6)
    assert logs["soft_loss"] == pytest.approx(0.0, abs=1e-6)  # the teacher agrees on row 0


def test_training_and_evaluation_report_the_same_names():
    distiller = Distiller(student=classifier(4), teacher=classifier())
    distiller.compile("adam", metrics=["accuracy"])
    history = distiller.fit(X, Y, validation_data=(X, Y), verbose=0).history
    names = {"loss", "hard_loss", "soft_loss", "accuracy"}

    assert set(history) == names | {f"val_{name}" for name in names}
    logs = distiller.evaluate(X, Y, verbose=0, return_dict=True)
    assert {f"val_{name}": [value] for name, value in logs.items()} == {
        name: value for name, value in history.items() if name.startswith("val_")
    }


def test_a_callable_teacher_teaches_what_its_model_does():
    teacher = classifier()
    students = []
    for source in (teacher, lambda inputs: teacher(inputs, training=False)):
        keras.utils.set_random_seed(1)
        students.append(fitted(classifier(4), source).student)

    for one, other in zip(values(students[0]), values(students[1]), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("soft_loss", ["reverse_kl", losses.reverse_kl])
def test_another_soft_loss_is_taken_by_name_or_as_a_function(soft_loss):
    distiller = eager(
        zero_student(), always(0.0, 2 * LN3), "sgd", soft_loss=soft_loss, temperature=2.0
    )
    logs = distiller.evaluate(np.ones((2, 1)), np.zeros(2, int), verbose=0, return_dict=True)

    assert logs["soft_loss"] == pytest.approx(4 * 0.143841, abs=1e-5)


def test_alpha_and_temperature_can_be_moved_after_the_first_step():
    # Traced, where a Python number would have been baked in.
    distiller = Distiller(student=zero_student(), teacher=always(0.0, 2 * LN3))
    distiller.compile(keras.optimizers.SGD(0.0), alpha=1.0, temperature=1.0)
    x, y = np.ones((2, 1)), np.zeros(2, int)
    distiller.fit(x, y, verbose=0)
    distiller.alpha.assign(0.25)
    distiller.temperature.assign(2.0)
    history = distiller.fit(x, y, verbose=0).history

    assert history["loss"] == [pytest.approx(0.25 * math.log(2) + 0.75 * 0.52325, abs=1e-5)]


def test_the_student_is_saved_and_comes_back_without_the_teacher(tmp_path):
    student = fitted(classifier(4), classifier(64)).student
    student.save(tmp_path / "student.keras")
    again = keras.models.load_model(tmp_path / "student.keras")

    np.testing.assert_array_equal(again(X), student(X))
    assert again.count_params() == student.count_params()


def test_the_same_seed_gives_the_same_student():
    students = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        students.append(fitted(classifier(4), classifier()).student)

    for one, other in zip(values(students[0]), values(students[1]), strict=True):
        np.testing.assert_array_equal(one, other)
