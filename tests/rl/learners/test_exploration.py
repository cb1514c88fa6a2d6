from __future__ import annotations

from collections import Counter

import numpy as np
import tensorflow as tf

from tfdistill.rl.learners.equations import stratified_actions, uniform_actions

SEED = tf.constant([3, 5])


def counts(strata, actions, stratum: int) -> Counter:
    rows = actions.numpy()[strata.numpy() == stratum]
    return Counter(map(tuple, rows.tolist()))


def test_every_stratum_takes_every_joint_action_equally_often():
    strata = tf.constant([0] * 36 + [4] * 18, tf.int32)
    strata = tf.random.shuffle(strata, seed=1)
    actions = stratified_actions(strata, SEED, num_agents=2, num_actions=3)

    assert set(counts(strata, actions, 0).values()) == {4} and len(counts(strata, actions, 0)) == 9
    assert set(counts(strata, actions, 4).values()) == {2}


def test_counts_differ_by_one_where_they_cannot_be_equal():
    strata = tf.zeros(11, tf.int32)
    actions = stratified_actions(strata, SEED, num_agents=2, num_actions=2)

    assert sorted(counts(strata, actions, 0).values()) == [2, 3, 3, 3]


def test_each_episode_takes_each_joint_action_equally_often_over_seeds():
    strata = tf.constant([0, 0, 1, 1, 1])
    taken = np.stack(
        [
            stratified_actions(strata, tf.constant([seed, 0]), num_agents=2, num_actions=2)
            for seed in range(200)
        ]
    )
    shares = [
        (taken[:, episode] == joint).all(-1).mean()
        for episode in (0, 4)
        for joint in ([0, 0], [0, 1], [1, 0], [1, 1])
    ]

    # 200 draws of probability ¼: four standard errors are 0.122.
    np.testing.assert_allclose(shares, 0.25, atol=0.122)


def test_only_possible_actions_are_drawn_and_all_of_them():
    allowed = tf.tile(tf.constant([[[True, False, True]]]), (300, 1, 1))
    drawn = uniform_actions(allowed, SEED).numpy()

    assert set(drawn.ravel().tolist()) == {0, 2}
    # 300 draws of probability ½: four standard errors are 0.115.
    assert abs((drawn == 0).mean() - 0.5) < 0.115


def test_the_same_seed_draws_the_same():
    strata = tf.zeros(16, tf.int32)
    one, other = (stratified_actions(strata, SEED, num_agents=2, num_actions=2) for _ in range(2))

    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(
        one, stratified_actions(strata, SEED + 9, num_agents=2, num_actions=2)
    )
