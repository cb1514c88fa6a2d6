"""Q-learning: the equations, the networks, the replay buffer and the learners."""
