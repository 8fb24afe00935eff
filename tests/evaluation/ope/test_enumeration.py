"""Every trajectory of a small MDP: expectations of estimators are sums, not simulations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from holdfast.evaluation.ope import doubly_robust as robust
from holdfast.evaluation.ope import importance, marginal
from holdfast.evaluation.ope.log import Log

GAMMA = 0.9
STEPS = 3
START = np.array([0.6, 0.4, 0.0])
# [s, a, s']; what is missing to 1 is the chance of a true end
MOVE = np.array(
    [[[0.5, 0.3, 0.1], [0.1, 0.6, 0.3]], [[0.2, 0.2, 0.2], [0.0, 0.5, 0.5]], [[0.3, 0.0, 0.3], [0.6, 0.2, 0.1]]]
)
REWARD = np.array([[1.0, -0.5], [0.3, 2.0], [-1.0, 0.7]])
MU = np.array([[0.7, 0.3], [0.4, 0.6], [0.5, 0.5]])
PI = np.array([[0.2, 0.8], [0.6, 0.4], [0.9, 0.1]])
WRONG_Q = np.array([[2.0, 0.1], [-1.0, 3.0], [0.5, 0.5]])


def q_values(policy: np.ndarray, move: np.ndarray = MOVE) -> np.ndarray:
    """Q_t(s, a) of the first STEPS steps, [T, S, A]."""
    q = np.zeros((STEPS + 1, 3, 2))
    for t in reversed(range(STEPS)):
        q[t] = REWARD + GAMMA * move @ (policy * q[t + 1]).sum(1)
    return q[:-1]


def trajectories(move: np.ndarray):
    """(probability under MU, states, actions) of every trajectory."""

    def onward(probability, states, actions):
        s = states[-1]
        for a in (0, 1):
            p = probability * MU[s, a]
            if len(actions) + 1 == STEPS:
                yield p, states, [*actions, a]
                continue
            if 1 - move[s, a].sum() > 1e-12:
                yield p * (1 - move[s, a].sum()), states, [*actions, a]
            for s2 in np.flatnonzero(move[s, a]):
                yield from onward(p * move[s, a, s2], [*states, int(s2)], [*actions, a])

    return list(itertools.chain.from_iterable(onward(START[s], [s], []) for s in (0, 1)))


def log_of(found, q=WRONG_Q) -> tuple[Log, np.ndarray, np.ndarray]:
    """All trajectories as a log, their probabilities, and the numbers of their states."""
    n = len(found)
    lengths = np.array([len(actions) for _, _, actions in found])
    states = np.full((n, STEPS), -1)
    actions = np.zeros((n, STEPS), int)
    for i, (_, s, a) in enumerate(found):
        states[i, : len(s)] = s
        actions[i, : len(a)] = a
    alive = states >= 0
    q = np.broadcast_to(q, (STEPS, 3, 2))
    t = np.arange(STEPS)
    here = np.where(alive, q[t, states, actions], 0.0)
    values = np.where(alive, (PI * q).sum(2)[t, states], 0.0)
    log = Log(
        reward=np.where(alive, REWARD[states, actions], 0.0),
        lengths=lengths,
        discount=GAMMA,
        cut=np.zeros(n, bool),
        log_ratio=np.where(alive, np.log(PI / MU)[states, actions], 0.0),
        q=here,
        v=np.concatenate([values, np.zeros((n, 1))], 1),
    )
    return log, np.array([p for p, _, _ in found]), states


LOG, P, STATES = log_of(trajectories(MOVE))
VALUE = START @ (PI * q_values(PI)[0]).sum(1)


def test_the_trajectories_are_all():
    assert P.sum() == pytest.approx(1, abs=1e-12)
    assert P @ LOG.last_weight == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    "terms", [importance.tis_terms, importance.pdis_terms, robust.dr_terms], ids=["tis", "pdis", "dr"]
)
def test_unbiased_with_a_wrong_model(terms):
    assert P @ terms(LOG) == pytest.approx(VALUE, abs=1e-12)


@pytest.mark.parametrize("estimator", [importance.wis, importance.sn_pdis, robust.wdr])
def test_limits_of_normalised_estimators(estimator):
    """As n grows, each trajectory occurs in proportion to its probability."""
    assert estimator(LOG, P[None])[0] == pytest.approx(VALUE, abs=1e-12)


def exact_marginals() -> np.ndarray:
    """d^pi_t / d^mu_t of every state, [T, S]."""
    d = {"pi": START.copy(), "mu": START.copy()}
    found = []
    for _ in range(STEPS):
        found.append(np.divide(d["pi"], d["mu"], out=np.zeros(3), where=d["mu"] > 0))
        d = {name: np.einsum("s,sa,sax->x", d[name], policy, MOVE) for name, policy in (("pi", PI), ("mu", MU))}
    return np.array(found)


def end_ratios() -> np.ndarray:
    """P(ended before t) under the two policies as a ratio, [T]: 1 where it cannot happen."""
    alive = {"pi": START.copy(), "mu": START.copy()}
    found = []
    for _ in range(STEPS):
        ended = [1 - alive[name].sum() for name in ("pi", "mu")]
        found.append(ended[0] / ended[1] if ended[1] > 1e-12 else 1.0)
        alive = {n: np.einsum("s,sa,sax->x", alive[n], policy, MOVE) for n, policy in (("pi", PI), ("mu", MU))}
    return np.array(found)


def test_marginal_estimators_are_unbiased():
    t = np.arange(STEPS)
    state = np.where(STATES >= 0, exact_marginals()[t, STATES], end_ratios())
    weight = state * np.exp(LOG.log_ratio)
    assert P @ marginal.mis_terms(LOG, weight) == pytest.approx(VALUE, abs=1e-12)
    assert P @ robust.dr_terms(LOG, weight) == pytest.approx(VALUE, abs=1e-12)


def sampled(count: int = 10_000) -> np.ndarray:
    return np.random.default_rng(0).choice(len(P), count, p=P)


def test_estimated_marginals_approach_the_exact_ones():
    drawn = sampled()
    found = trajectories(MOVE)
    log, _, _ = log_of([found[i] for i in drawn])
    ratios = marginal.state_ratios(log, STATES[drawn])
    exact = np.where(STATES >= 0, exact_marginals()[np.arange(STEPS), STATES], end_ratios())[drawn]
    np.testing.assert_allclose(ratios, exact, atol=0.1)
    whole = marginal.marginal_weights(log, STATES[drawn], STEPS - 1)
    np.testing.assert_allclose(whole, log.weight, rtol=1e-12)


def test_no_variance_with_the_exact_model_and_one_way_through():
    """Transitions and rewards without chance: every term of the doubly robust estimate is V(s0)."""
    move = np.zeros_like(MOVE)
    for s, a in itertools.product(range(3), range(2)):
        move[s, a, (s + a + 1) % 3] = 1.0
    log, probability, states = log_of(trajectories(move), q_values(PI, move))
    terms = robust.dr_terms(log)
    assert probability.sum() == pytest.approx(1)
    assert log.v is not None
    np.testing.assert_allclose(terms, log.v[:, 0], atol=1e-12)
    assert importance.pdis_terms(log).std() > 0.1
    assert (states >= 0).all()
