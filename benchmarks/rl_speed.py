"""How fast a team learns: our compiled loop beside the same learner as a plain NumPy loop.

    python benchmarks/rl_speed.py

Both play the two-step game with uniform exploration and learn independent Q-networks of the same
sizes (one shared network of two hidden layers, Adam, a target network, replay), the plain loop one
episode at a time as textbooks write it. Counted are environment steps and gradient steps per
second, in turns; a figure is the median of the turns' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from tfdistill import rl

HIDDEN, BATCH, RATE, DISCOUNT = 64, 128, 2e-3, 0.99


class PlainLoop:
    """Independent Q-learning in NumPy: forward, backward and Adam written out."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.game = rl.TwoStepGame()
        widths = [3 + 2, HIDDEN, HIDDEN, 2]
        self.weights = [
            self.random.uniform(-1, 1, (ins, outs)) * (6 / (ins + outs)) ** 0.5
            for ins, outs in zip(widths, widths[1:], strict=False)
        ]
        self.weights += [np.zeros(outs) for outs in widths[1:]]
        self.target = [weight.copy() for weight in self.weights]
        self.first = [np.zeros_like(weight) for weight in self.weights]
        self.second = [np.zeros_like(weight) for weight in self.weights]
        self.kept: list[tuple] = []
        self.updates = 0

    def run(self, steps: int, updates_per_step: float) -> None:
        """Plays `steps` steps and learns in between."""
        owed = 0.0
        seen, _ = self.game.reset()
        for _ in range(steps):
            actions = {name: int(self.random.integers(2)) for name in seen}
            after, rewards, ended, _, _ = self.game.step(actions)
            for index, name in enumerate(self.game.possible_agents):
                who = np.eye(2)[index]
                row = (np.r_[seen[name], who], actions[name], rewards[name])
                self.kept.append((*row, ended[name], np.r_[after[name], who]))
            seen = after if self.game.agents else self.game.reset()[0]
            owed += updates_per_step
            while owed >= 1 and len(self.kept) >= BATCH:
                self.learn()
                owed -= 1

    def learn(self) -> None:
        """Makes one gradient step on a batch of transitions."""
        drawn = self.random.integers(len(self.kept), size=BATCH)
        x, a, r, end, following = (
            np.array(part) for part in zip(*(self.kept[i] for i in drawn), strict=True)
        )
        goal = r + DISCOUNT * (1 - end) * self.forward(following, self.target)[-1].max(1)
        layers = self.forward(x, self.weights)
        error = np.zeros_like(layers[-1])
        rows = np.arange(BATCH)
        error[rows, a] = (layers[-1][rows, a] - goal) / BATCH
        gradients: list = [None] * 6
        for index in (2, 1, 0):
            gradients[index], gradients[3 + index] = layers[index].T @ error, error.sum(0)
            error = (error @ self.weights[index].T) * (layers[index] > 0)
        self.updates += 1
        for index, gradient in enumerate(gradients):
            self.first[index] += 0.1 * (gradient - self.first[index])
            self.second[index] += 0.001 * (gradient**2 - self.second[index])
            scale = np.sqrt(self.second[index] / (1 - 0.999**self.updates)) + 1e-7
            step = self.first[index] / (1 - 0.9**self.updates) / scale
            self.weights[index] = self.weights[index] - RATE * step
        if self.updates % 50 == 0:
            self.target = [weight.copy() for weight in self.weights]

    @staticmethod
    def forward(x: np.ndarray, weights: list) -> list:
        """Returns the input and the output of each layer."""
        layers = [x]
        for index in range(3):
            x = layers[-1] @ weights[index] + weights[3 + index]
            layers.append(np.maximum(x, 0) if index < 2 else x)
        return layers


def main() -> None:
    """Prints both rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4000, help="environment steps in a turn")
    options = parser.parse_args()
    # Ours: 64 episodes at once, 2 gradient steps of 2 turns (128 steps) after each turn.
    ours = rl.IQL(
        rl.TwoStepGame(), seed=0, num_episodes=64, updates=2, batch_turns=2, hidden_dim=HIDDEN
    )
    plain = PlainLoop(seed=0)
    updates_per_step = 2 / 64
    ours.train(64 * 25)
    plain.run(BATCH, updates_per_step)
    ratios, rates = [], []
    for _ in range(options.turns):
        seconds = []
        for run in (
            lambda: ours.train(options.steps),
            lambda: plain.run(options.steps, updates_per_step),
        ):
            start = time.process_time()
            run()
            seconds.append(time.process_time() - start)
        ratios.append(seconds[1] / seconds[0])
        rates.append([options.steps / second for second in seconds])
    for name, column in zip(("ours", "NumPy loop"), zip(*rates, strict=True), strict=True):
        rate = statistics.median(column)
        print(f"{name}: {rate:,.0f} environment steps, {rate * updates_per_step:,.0f} updates / s")
    print(
        f"ratio {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}), "
        "processor time, same number of gradient steps"
    )


if __name__ == "__main__":
    main()
