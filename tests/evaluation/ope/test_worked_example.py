"""Four episodes whose estimates were computed apart from this code: ope.md, section 15."""

import numpy as np
import pytest

from holdfast.evaluation.ope import distribution, importance, intervals, shrinkage
from holdfast.evaluation.ope import doubly_robust as robust
from holdfast.evaluation.ope.diagnostics import support_of
from holdfast.evaluation.ope.log import Log

EPISODES = [  # ratios, rewards, Q(s, a), V(s)
    ([1.5, 0.8, 1.2], [1, 0, 2], [1.8, 1.2, 1.5], [2.0, 1.0, 1.6]),
    ([0.5, 1.6], [0.5, 1], [0.9, 0.8], [1.2, 0.9]),
    ([2.0, 0.25, 1.0], [0, 1, 3], [2.2, 2.5, 2.0], [1.9, 2.1, 2.4]),
    ([0.8], [1], [1.1], [1.0]),
]
ONE = np.ones((1, 4))


def rows(column: int, width: int = 3) -> np.ndarray:
    return np.array([np.pad(np.array(e[column], float), (0, width - len(e[column]))) for e in EPISODES])


LENGTHS = np.array([3, 2, 3, 1])
RATIOS = np.where(np.arange(3) < LENGTHS[:, None], rows(0), 1.0)
LOG = Log(rows(1), LENGTHS, 0.9, np.zeros(4, bool), np.log(RATIOS), rows(2), rows(3, 4))
near = lambda value: pytest.approx(value, abs=1e-10)  # noqa: E731


def test_returns_and_weights():
    np.testing.assert_allclose(LOG.returns, [2.62, 1.40, 3.33, 1.00], atol=1e-12)
    np.testing.assert_allclose(LOG.last_weight, [1.44, 0.80, 0.50, 0.80], atol=1e-12)
    np.testing.assert_allclose(support_of(LOG).effective, [3.2268908, 3.6666667, 3.4775225], atol=1e-7)


@pytest.mark.parametrize(
    ("estimator", "value"),
    [
        (importance.tis, 1.83945),
        (importance.pdis, 1.81695),
        (importance.wis, 2.0784745762711863),
        (importance.sn_pdis, 1.887998844375963),
        (robust.dm, 1.525),
        (robust.dr, 1.86085),
        (robust.wdr, 1.9444593605546996),
    ],
)
def test_estimators(estimator, value):
    assert estimator(LOG, ONE)[0] == near(value)


def test_terms_of_the_doubly_robust_estimator():
    np.testing.assert_allclose(robust.dr_terms(LOG), [2.9924, 1.549, 1.982, 0.92], atol=1e-10)


def test_magic():
    terms = robust.partial_returns(LOG, np.ones(4))
    np.testing.assert_allclose(terms.sum(0), [1.525, 1.453125, 1.6653068181818182, 1.9444593605546996], atol=1e-10)
    centred = terms - terms.mean(0)
    np.testing.assert_allclose(
        4 / 3 * np.diag(centred.T @ centred), [0.0622917, 0.0611035, 0.0962615, 0.2148725], atol=1e-7
    )
    x = robust.mixture(terms, np.ones(4), (1.70, 2.10))
    np.testing.assert_allclose(x, [0.5547303889, 0, 0.4452696111, 0], atol=1e-9)
    assert robust.magic(LOG, ONE, (1.70, 2.10))[0] == near(1.5874743623710907)


def test_standard_errors():
    assert intervals.standard_error(importance.wis_influence(LOG), centred=False) == near(0.4033380211580034)
    assert intervals.standard_error(importance.sn_pdis_influence(LOG), centred=False) == near(0.37505041189233984)
    assert intervals.standard_error(importance.tis_terms(LOG)) == near(0.6687263783990182)
    assert intervals.hcope(importance.tis_terms(LOG), 2.0, 0.1) == near(-3.9223116345109825)


def test_smaller_ratios_act_inside_the_recursion():
    def value(kind, amount):
        return robust.dr(shrinkage.shrunk(LOG, kind, amount), ONE)[0]

    assert value("optimistic", 2.0) == near(1.6345594282518467)
    assert value("switch", 1.5) == near(1.80435)
    whole = LOG.weight
    by_sum = robust.dr_terms(LOG, 2 * whole / (whole**2 + 2)).mean()  # on cumulative weights: another number
    assert by_sum == near(1.8139144535364746)
    assert value("pessimistic", 100.0) == near(1.86085)
    assert value("subgaussian", 0.0) == near(1.86085)


def test_the_distribution_of_returns():
    found = distribution.self_normalised(LOG, ONE)
    np.testing.assert_allclose(
        [found.at(x)[0] for x in (1, 1.4, 2.62, 3.33)], [0.2259887, 0.4519774, 0.8587571, 1], atol=1e-7
    )
    weighted = distribution.importance(LOG, ONE)
    np.testing.assert_allclose([weighted.at(x)[0] for x in (1, 1.4, 2.62, 3.33)], [0.2, 0.4, 0.76, 0.885], atol=1e-12)
    assert found.cvar(0.3)[0] == near(1.0986817325800378)
    assert found.cvar(0.5)[0] == near(1.3363841807909602)
    assert found.quantile(0.5)[0] == 2.62
    assert found.quantile(0.25)[0] == 1.4
    assert found.variance()[0] == near(0.7073971081106962)
    assert found.below(1.4)[0] == found.at(1)[0]
    assert found.mean()[0] == near(importance.wis(LOG, ONE)[0])
