"""What notebook 06e defines, against brute force, scipy, scikit-learn, a textbook's figure and bad input."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import defined_in
from scipy import stats
from scipy.special import expit, logit
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score

from course import data
from course.exercises import EXERCISES

NAMES = (
    *("Net", "checked", "rates", "threshold_for", "tuned", "corrected_interval", "exact_interval"),
    *("predictive_values", "recalibrated", "net_benefit", "calibration_slope", "hiv_trial", "difference", "adjusted"),
    *("survivors", "in_steps", "stratified_effect", "propensities", "weighted_effect", "standardised_differences"),
    *("specificity_needed", "standardised_effect"),
)
book = SimpleNamespace(**dict(zip(NAMES, defined_in("06e-health", *NAMES), strict=True)))
book.rates.__globals__.update(  # what the notebook sets up before
    device=torch.device("cpu"), seed=0, EPOCHS=120, STEPS=10, ACTG175_SHA256="56fba31f"
)
ILL = np.array([1, 1, 0, 0])


def sample(seed, n=300):
    """Labels, about a third of them 1, and probabilities that know something about them."""
    random = np.random.default_rng(seed)
    malignant = (random.random(n) < 0.35).astype(int)
    return malignant, expit(random.normal(2 * malignant - 1.5, 1.5))


def trial(seed, n=400):
    """Outcome, treatment and two covariates, of which the first decides on both."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 2))
    treated = random.random(n) < expit(x[:, 0])
    return 3 * treated + 2 * x[:, 0] + random.normal(size=n) * (1 + treated), treated, x


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: book.rates(ILL, [0.1, 1.7, 0.2, 0.3], 0.5), r"1\.7 is no probability.*sigmoid"),
        (lambda: book.rates(ILL, [0.1, -0.1, 0.2, 0.3], 0.5), r"-0\.1 is no probability"),
        (lambda: book.rates(ILL, [0.1, math.nan, 0.2, 0.3], 0.5), "nan is no probability"),
        (lambda: book.rates([0, 0], [0.1, 0.2], 0.5), "No malignant case here.*Stratify"),
        (lambda: book.rates([1, 1], [0.1, 0.2], 0.5), "No benign case here"),
        (lambda: book.threshold_for(0.9, np.array([1, 1]), np.array([0.1, 0.2])), "No benign case"),
        (lambda: book.net_benefit(ILL, [0.1, 2.0, 0.2, 0.3], 0.5), r"2\.0 is no probability"),
        (lambda: book.net_benefit(ILL, [0.1, 0.9, 0.2, 0.3], 1.0), "Threshold and prevalence"),
        (lambda: book.net_benefit(ILL, [0.1, 0.9, 0.2, 0.3], 0.5, 0.0), "Threshold and prevalence"),
        (lambda: book.calibration_slope(np.zeros(2), [0.1, 0.2]), "No malignant case"),
        (lambda: book.predictive_values(0.9, 0.9, 0), "prevalence of 0 leaves nothing to find out"),
        (lambda: book.predictive_values(0.9, 0.9, 1), "prevalence of 1 leaves nothing to find out"),
        (lambda: book.predictive_values(1.2, 0.9, 0.1), r"1\.2 is no rate"),
        (lambda: book.recalibrated([0.5], 0.37, 0.0), r"prevalence of 0\.0 has no log-odds"),
        (lambda: book.recalibrated([0.5], 1, 0.1), "prevalence of 1 has no log-odds"),
        (lambda: book.recalibrated([0.5, 1.1], 0.4, 0.1), r"lie in \[0, 1\]"),
        (lambda: book.recalibrated([math.nan], 0.4, 0.1), r"lie in \[0, 1\]"),
        (lambda: book.difference(np.ones(5), np.ones(5, dtype=bool)), "nobody to compare with"),
        (
            lambda: book.stratified_effect(np.ones(4), np.array([1, 0, 1, 1]) == 1, np.array([0, 0, 1, 1])),
            "No overlap: stratum 1 holds one treatment only",
        ),
        (
            lambda: book.propensities(np.arange(200) > 99, np.arange(200.0)[:, None]),
            r"No overlap: \d+% of the patients could only have had one treatment",
        ),
    ],
)
def test_bad_input_says_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("seed", range(3))
def test_rates_are_recall_of_the_one_and_of_the_other_label(seed):
    malignant, probability = sample(seed)
    alarm = (probability > 0.4).astype(int)
    expected = recall_score(malignant, alarm), recall_score(malignant, alarm, pos_label=0)
    assert book.rates(malignant, probability, 0.4) == pytest.approx(expected)


def test_rates_take_a_threshold_for_each():
    assert book.rates(ILL, [0.5, 0.5, 0.5, 0.5], np.array([0.4, 0.6, 0.4, 0.6])) == (0.5, 0.5)


@pytest.mark.parametrize("specificity", [0.5, 0.9, 0.98, 1.0])
@pytest.mark.parametrize("seed", range(2))
def test_threshold_is_the_lowest_that_keeps_the_promise(seed, specificity):
    malignant, probability = sample(seed)
    threshold = book.threshold_for(specificity, malignant, probability)
    assert book.rates(malignant, probability, threshold)[1] >= specificity
    lower = probability[(malignant == 0) & (probability < threshold)].max()
    assert book.rates(malignant, probability, lower)[1] < specificity


def test_tuning_takes_the_better_setting_and_returns_unseen_probabilities():
    malignant, probability = sample(0)
    x = logit(probability)[:, None]
    model, unseen = book.tuned([LogisticRegression(C=1e-9), LogisticRegression(C=1.0)], x, malignant)
    assert model.C == 1.0
    seen = model.predict_proba(x)[:, 1]
    assert not np.isclose(unseen, seen).any()  # other models gave them
    assert np.corrcoef(unseen, seen)[0, 1] > 0.95  # in the same order of rows


def test_network_learns_what_a_line_cannot_and_can_be_cloned():
    random = np.random.default_rng(0)
    torch.manual_seed(0)
    x = random.normal(size=(300, 2))
    y = (np.hypot(*x.T) > 1.1).astype(int)  # a ring
    net = clone(book.Net(16, 0.1)).fit(x, y)
    assert (net.predict(x) == y).mean() > 0.9 > (LogisticRegression().fit(x, y).predict(x) == y).mean()
    assert net.predict_proba(x).sum(1) == pytest.approx(1)


def test_interval_of_independent_exams_is_students_and_of_overlapping_ones_wider():
    scores = np.random.default_rng(0).normal(0.9, 0.02, 15)
    student = stats.ttest_1samp(scores, 0).confidence_interval()
    assert book.corrected_interval(scores, 0)[1:] == pytest.approx(tuple(student))
    mean, low, high = book.corrected_interval(scores, 1 / 4)
    assert (high - low) / (student.high - student.low) == pytest.approx(math.sqrt(1 + 15 / 4))
    assert mean == pytest.approx((low + high) / 2)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (40, 42), (204, 212), (1, 3)])
def test_exact_interval_is_scipys(hits, n):
    expected = stats.binomtest(hits, n).proportion_ci(method="exact")
    assert book.exact_interval(hits, n) == pytest.approx(tuple(expected))


def test_predictive_values_are_those_of_the_textbook_and_of_counting():
    # ten of a thousand are ill, 8 of them alarmed; 9.6 % of the others: the classic answer is 7.8 %
    assert book.predictive_values(0.8, 0.904, 0.01)[0] == pytest.approx(0.078, abs=5e-4)
    # of 10,000: 2,000 ill, 1,500 found; 8,000 healthy, 6,000 spared
    assert book.predictive_values(0.75, 0.75, 0.2) == pytest.approx((1500 / 3500, 6000 / 6500))


def test_a_test_without_alarms_has_no_ppv():
    ppv, npv = book.predictive_values(0.0, 1.0, 0.2)
    assert math.isnan(ppv)
    assert npv == pytest.approx(0.8)


@pytest.mark.parametrize("p", [0.0, 0.01, 0.3, 0.97, 1.0])
def test_shifted_log_odds_are_bayes(p):
    moved = book.recalibrated([p], 0.4, 0.05)[0]
    ill, healthy = p * 0.05 / 0.4, (1 - p) * 0.95 / 0.6
    assert moved == pytest.approx(ill / (ill + healthy))
    assert book.recalibrated([moved], 0.05, 0.4)[0] == pytest.approx(p)  # and back


@pytest.mark.parametrize("threshold", [0.02, 0.3, 0.8])
def test_net_benefit_counts_people(threshold):
    malignant, probability = sample(1)
    worth = threshold / (1 - threshold)
    alarms = malignant[probability > threshold]
    counted = sum(1 if ill else -worth for ill in alarms) / len(malignant)
    assert book.net_benefit(malignant, probability, threshold) == pytest.approx(counted)


def test_net_benefit_at_another_prevalence_is_that_of_a_copied_sample():
    malignant, probability = sample(2)
    copies = np.where(malignant == 0, 7, 1)  # every healthy person seven times
    many, said = np.repeat(malignant, copies), np.repeat(probability, copies)
    expected = book.net_benefit(many, said, 0.2)
    assert book.net_benefit(malignant, probability, 0.2, many.mean()) == pytest.approx(expected)
    assert expected != pytest.approx(book.net_benefit(malignant, probability, 0.2), abs=0.02)


def test_alarm_for_everybody_is_worth_nothing_where_the_threshold_is_the_prevalence():
    assert book.net_benefit(ILL, np.ones(4), 0.5) == pytest.approx(0)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_calibration_slope_is_one_over_the_exaggeration(factor):
    random = np.random.default_rng(0)
    odds = random.normal(0, 1.5, 40_000)
    ill = (random.random(40_000) < expit(odds)).astype(int)
    assert book.calibration_slope(ill, expit(factor * odds)) == pytest.approx(1 / factor, rel=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_difference_is_welchs(seed):
    outcome, treated, _ = trial(seed)
    welch = stats.ttest_ind(outcome[treated], outcome[~treated], equal_var=False).confidence_interval()
    effect, *interval = book.difference(outcome, treated)
    assert interval == pytest.approx(tuple(welch))
    assert effect == pytest.approx(sum(interval) / 2)


def test_adjusted_effect_is_that_of_residuals_with_the_sandwich_variance():
    outcome, treated, x = trial(0)
    others = np.column_stack([np.ones(len(x)), x])

    def rest(values):
        return values - others @ np.linalg.lstsq(others, values, rcond=None)[0]

    t, y = rest(treated.astype(float)), rest(outcome)  # Frisch, Waugh, Lovell
    effect = t @ y / (t @ t)
    half = 1.96 * math.sqrt((t**2 * (y - effect * t) ** 2).sum()) / (t @ t)
    assert book.adjusted(outcome, treated, x) == pytest.approx((effect, effect - half, effect + half))
    assert abs(effect - 3) < 0.4 < book.difference(outcome, treated)[0] - 3  # the truth is 3


def test_only_the_unwelcome_vanish():
    by = np.arange(4000.0)
    treated = np.arange(4000) % 2 == 0
    stay = book.survivors(by, treated, 0.7, np.random.default_rng(0))
    high = by > np.median(by)
    assert stay[treated & ~high].all()
    assert stay[~treated & high].all()
    assert abs(stay[treated & high].mean() - 0.3) < 0.05
    assert abs(stay[~treated & ~high].mean() - 0.3) < 0.05


def test_steps_are_tenths():
    values = np.random.default_rng(0).permutation(1000)
    assert (np.bincount(book.in_steps(values)) == 100).all()
    assert (book.in_steps(values) == values // 100).all()


@pytest.mark.parametrize("seed", range(3))
def test_weights_by_the_shares_within_strata_are_stratification(seed):
    outcome, treated, x = trial(seed, 4000)
    stratum = book.in_steps(x[:, 0])
    e = np.array([treated[stratum == s].mean() for s in range(10)])[stratum]
    weighted = book.weighted_effect(outcome, treated, e)
    assert weighted == pytest.approx(book.stratified_effect(outcome, treated, stratum))
    assert abs(weighted - 3) < 0.3 < book.difference(outcome, treated)[0] - 3


def test_propensities_are_those_that_treated_the_patients():
    _, treated, x = trial(0, 20_000)
    e = book.propensities(treated, x)
    assert np.abs(e - expit(x[:, 0])).max() < 0.05


def test_standardised_difference_by_hand_and_gone_after_weighting():
    x, treated = np.array([[0.0], [2.0], [1.0], [3.0]]), np.array([False, False, True, True])
    assert book.standardised_differences(x, treated, np.ones(4)) == pytest.approx([1 / math.sqrt(2)])
    _, treated, x = trial(0, 20_000)
    true = expit(x[:, 0])
    balanced = book.standardised_differences(x, treated, np.where(treated, 1 / true, 1 / (1 - true)))
    assert book.standardised_differences(x, treated, np.ones(len(x)))[0] > 0.5
    assert np.abs(balanced).max() < 0.1


def test_damaged_trial_is_named_and_never_read(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.setattr(data, "from_wheel", lambda requirement, members: lambda folder: None)
    file = tmp_path / "lifelines/datasets/ACTG175.csv"
    file.parent.mkdir(parents=True)
    file.write_text("pidnum,treat\n1,1\n")
    with pytest.warns(UserWarning, match=r"ACTG175\.csv is damaged"), pytest.raises(data.DataError, match="ACTG 175"):
        book.hiv_trial()
    assert not file.exists()


@pytest.mark.parametrize("case", EXERCISES["06e-specificity"].cases)
def test_specificity_exercise_gives_the_ppv(case):
    ppv, sensitivity, prevalence = case.tolist()
    needed = EXERCISES["06e-specificity"].expected(case)
    assert needed == pytest.approx(book.specificity_needed(case))
    reached = book.predictive_values(sensitivity, needed, prevalence)[0]
    assert reached == pytest.approx(ppv) if needed > 0 else reached > ppv


@pytest.mark.parametrize("case", EXERCISES["06e-strata"].cases)
def test_strata_exercise_asks_every_patient_twice(case):
    gains = []  # what each patient of each stratum would gain
    for n_new, new, n_old, old in case.tolist():
        gains += [new - old] * int(n_new + n_old)
    assert EXERCISES["06e-strata"].expected(case) == pytest.approx(np.mean(gains))
    assert book.standardised_effect(case) == pytest.approx(np.mean(gains))
