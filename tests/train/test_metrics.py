import pytest
import torch
from sklearn import metrics

from tests.recipes import CPU
from tuner.errors import ConfigError
from tuner.train.metrics import ErrorTally, Scores, Tally, check_metric, examples


@pytest.mark.parametrize("classes_seen", [5, 3])
def test_scores_equal_scikit_learns(classes_seen):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 5, generator=generator)
    labels = torch.randint(0, classes_seen, (200,), generator=generator)
    logits[:, 4] -= 9  # a class that is never predicted
    tally = Tally(5, CPU)
    for part in range(0, 200, 64):
        batch = slice(part, part + 64)
        loss = torch.nn.functional.cross_entropy(logits[batch], labels[batch])
        tally.add(logits[batch], labels[batch], loss)
    scores, (extra,) = tally.read(torch.tensor(3.5))

    guesses = logits.argmax(1)
    assert extra == 3.5
    assert scores.confusion == metrics.confusion_matrix(labels, guesses, labels=range(5)).tolist()
    assert scores.accuracy == pytest.approx(metrics.accuracy_score(labels, guesses))
    recall = metrics.recall_score(
        labels, guesses, labels=labels.unique(), average="macro", zero_division=0
    )
    assert scores.balanced_accuracy == pytest.approx(recall)
    f1 = metrics.f1_score(labels, guesses, average="macro", zero_division=0)
    assert scores.macro_f1 == pytest.approx(f1)
    expected = torch.nn.functional.cross_entropy(logits, labels).item()
    assert scores.loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("classes_seen", [5, 3])
def test_auroc_equals_scikit_learns_over_the_classes_that_occur(classes_seen):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 5, generator=generator).round(decimals=1)  # with ties
    labels = torch.randint(0, classes_seen, (200,), generator=generator)
    tally = Tally(5, CPU, ranked=True)
    for part in range(0, 200, 64):
        batch = slice(part, part + 64)
        tally.add(logits[batch], labels[batch], torch.tensor(0.0))
    scores, _ = tally.read()
    shares = logits.softmax(1)
    areas = [metrics.roc_auc_score(labels == c, shares[:, c]) for c in range(classes_seen)]
    assert scores.auroc == pytest.approx(sum(areas) / classes_seen, rel=1e-12)
    assert scores.metrics()["auroc"] == scores.auroc
    assert "auroc" not in Scores([[1, 0], [0, 1]], 0.1).metrics()


def test_errors_equal_scikit_learns():
    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(2, 100, 3, generator=generator)
    tally = ErrorTally(CPU)
    for part in range(0, 100, 32):
        batch = slice(part, part + 32)
        loss = (outputs[batch] - targets[batch]).abs().mean()
        tally.add(outputs[batch], targets[batch], loss)
    errors, (extra,) = tally.read(torch.tensor(3.5))
    assert extra == 3.5
    assert errors.mse == pytest.approx(metrics.mean_squared_error(targets, outputs))
    assert errors.mae == pytest.approx(metrics.mean_absolute_error(targets, outputs))
    assert errors.loss == pytest.approx(errors.mae)
    for name in errors.metrics():
        check_metric(name, regression=True)


def test_the_reported_metrics_are_those_that_may_be_asked_for():
    for name in Scores([[3, 1], [0, 4]], 0.5).metrics():
        check_metric(name)
    with pytest.raises(ConfigError, match=r"study\.metric: f1 is not reported.*macro_f1"):
        check_metric("f1")
    check_metric("auroc")
    with pytest.raises(
        ConfigError, match=r"accuracy is not .*regression targets; hint: known: mse"
    ):
        check_metric("accuracy", regression=True)


@pytest.mark.parametrize(
    ("metric", "counts", "expected"),
    [
        ("accuracy", [90, 10], 100),
        ("balanced_accuracy", [50, 50, 0], 100),
        ("balanced_accuracy", [90, 10], 36),  # 0.25 p (1 - p) (1 / 90 + 1 / 10) = p (1 - p) / 36
        ("macro_f1", [90, 10], 36),
        ("loss", [90, 10], None),
        ("mse", [], None),
    ],
)
def test_a_rare_class_makes_a_mean_over_classes_as_imprecise_as_fewer_images(
    metric, counts, expected
):
    assert examples(metric, counts) == expected
