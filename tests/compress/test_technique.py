"""What every technique has in common."""

from __future__ import annotations

import keras
import pytest

from tfdistill.compress import Cluster, Compressed, Prune, Quantize


def test_a_technique_is_shown_with_the_settings_that_are_not_the_defaults():
    recipe = [Cluster(number_of_clusters=4), Quantize(bits=4, include="ffn*"), Quantize()]

    assert (
        repr(recipe)
        == "[Cluster(number_of_clusters=4), Quantize(include='ffn*', bits=4), Quantize()]"
    )
    assert "'final_sparsity': 0.7" in repr(Prune(sparsity=0.7))


def test_a_recipe_in_an_error_can_be_read():

    student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(TypeError, match=r"recipe=\(Quantize\(\), 'prune'\)"):
        Compressed(student, recipe=(Quantize(), "prune"))
