"""The settings that functions shared by several methods read, as protocols of their configs."""

from __future__ import annotations

from typing import Protocol

from ..core.config import Schedule


class Smoothing(Protocol):
    """Noise on target actions, as in TD3."""

    @property
    def policy_noise(self) -> float: ...
    @property
    def noise_clip(self) -> float: ...


class Exploring(Protocol):
    """Noise on the actions of a deterministic policy that explores."""

    @property
    def exploration_noise(self) -> float: ...


class Rates(Protocol):
    """Learning rates of an actor and critics."""

    @property
    def actor_lr(self) -> float: ...
    @property
    def critic_lr(self) -> float: ...


class DecayingRates(Rates, Protocol):
    """Learning rates of an actor and critics that may fall."""

    @property
    def actor_decay_steps(self) -> Schedule: ...
    @property
    def critic_decay_steps(self) -> Schedule: ...


class SoftRates(Rates, Protocol):
    """Learning rates of an actor, critics and a temperature, as in SAC."""

    @property
    def temperature_lr(self) -> float: ...


class ConservativeRates(SoftRates, Protocol):
    """The rates of SAC and of the dual variable of a penalty, as in CQL."""

    @property
    def dual_lr(self) -> float: ...


class MatchingRates(Rates, Protocol):
    """The rates of a VAE, an actor, critics and a multiplier, as in BEAR."""

    @property
    def vae_lr(self) -> float: ...
    @property
    def multiplier_lr(self) -> float: ...


class Entropic(Protocol):
    """The entropy that a temperature aims at, in nats; 0 means the usual share of the action dimensions."""

    @property
    def target_entropy(self) -> float: ...


class Collecting(Protocol):
    """How a learner collects: random steps at the start, updates per step."""

    @property
    def warmup(self) -> int: ...
    @property
    def update_ratio(self) -> int: ...


class Continuing(Protocol):
    """How a learner continues online: updates per step, rows per update."""

    @property
    def update_ratio(self) -> int: ...
    @property
    def batch_size(self) -> int: ...


class QLearning(Protocol):
    """One network of action values, its target and its learning in an environment, as in DQN."""

    @property
    def polyak(self) -> float: ...
    @property
    def target_every(self) -> int: ...
    @property
    def hidden(self) -> tuple[int, ...]: ...
    @property
    def critic_lr(self) -> float: ...
    @property
    def critic_decay_steps(self) -> Schedule: ...
    @property
    def adam_eps(self) -> float: ...
    @property
    def warmup(self) -> int: ...
    @property
    def update_every(self) -> int: ...


class EpsilonGreedy(Protocol):
    """Random actions with a probability that falls over the first updates."""

    @property
    def epsilon(self) -> float: ...
    @property
    def epsilon_steps(self) -> int: ...
