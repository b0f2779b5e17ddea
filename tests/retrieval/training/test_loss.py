"""The training objective, worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from retrieval.training.loss import distillation_loss, hard_negative_statistics, softmax_loss

QUERIES = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
NO_FALSE_NEGATIVES = torch.zeros(2, 2, dtype=torch.bool)


def test_loss_is_the_mean_negative_log_of_the_softmax():
    documents = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    # Cosines [[1, 0.6], [0, 0.8]], times gamma 2; the diagonal is right.
    first = -math.log(math.exp(2) / (math.exp(2) + math.exp(1.2)))
    second = -math.log(math.exp(1.6) / (math.exp(0) + math.exp(1.6)))
    loss = softmax_loss(QUERIES, documents, 2.0, NO_FALSE_NEGATIVES)
    assert float(loss) == pytest.approx((first + second) / 2)


def test_further_documents_are_negatives_of_every_query():
    documents = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    false_negatives = torch.zeros(2, 3, dtype=torch.bool)
    first = math.log(1 + math.exp(-1) + math.exp(-2))
    second = math.log(1 + 2 * math.exp(-1))
    assert float(softmax_loss(QUERIES, documents, 1.0, false_negatives)) == pytest.approx(
        (first + second) / 2
    )


def test_another_relevant_document_is_no_negative():
    documents = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    false_negatives = torch.tensor([[False, True], [False, False]])
    second = -math.log(math.exp(1.6) / (1 + math.exp(1.6)))
    assert float(softmax_loss(QUERIES, documents, 2.0, false_negatives)) == pytest.approx(second / 2)


def test_a_masked_document_gets_no_gradient_from_that_query():
    documents = torch.tensor([[1.0, 0.0], [0.6, 0.8]], requires_grad=True)
    false_negatives = torch.tensor([[False, True], [False, False]])
    softmax_loss(QUERIES[:1], documents, 2.0, false_negatives[:1]).backward()
    assert documents.grad is not None
    assert documents.grad.tolist() == [[0, 0], [0, 0]]


def test_weights_make_a_weighted_mean():
    documents = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    first = math.log(1 + math.exp(-0.8))
    second = math.log(1 + math.exp(-1.6))
    loss = softmax_loss(QUERIES, documents, 2.0, NO_FALSE_NEGATIVES, torch.tensor([3.0, 1.0]))
    assert float(loss) == pytest.approx((3 * first + second) / 4)


def test_alike_documents_cost_the_logarithm_of_their_number():
    documents = torch.tensor([[1.0, 0.0]]).repeat(8, 1)
    queries = torch.randn(8, 2)
    loss = softmax_loss(queries, documents, 20.0, torch.zeros(8, 8, dtype=torch.bool))
    assert float(loss) == pytest.approx(math.log(8), rel=1e-5)


def test_gradient_pulls_the_positive_and_pushes_the_negative():
    query = torch.tensor([[1.0, 0.0]])
    documents = torch.tensor([[0.0, 1.0], [0.0, -1.0]], requires_grad=True)
    softmax_loss(query, documents, 2.0, torch.zeros(1, 2, dtype=torch.bool)).backward()
    # d loss / d logit = P - 1 = -1/2 for the positive and 1/2 for the other, times gamma.
    assert documents.grad is not None
    assert documents.grad.tolist() == [[-1.0, 0.0], [1.0, 0.0]]


def test_distillation_loss_is_the_mean_squared_difference_of_all_cosines():
    student = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    teacher = torch.tensor([[0.6, 0.8, 0.0], [1.0, 0.0, 0.0]])
    assert distillation_loss(student, teacher).item() == pytest.approx((0 + 0.36 + 0.36 + 0) / 4)
    turned = teacher @ torch.linalg.qr(torch.randn(3, 3)).Q
    assert distillation_loss(turned, teacher).item() == pytest.approx(0, abs=1e-10)


def test_parts_of_disjoint_rows_sum_to_the_loss_of_all():
    texts = torch.nn.functional.normalize(torch.randn(3, 7, 4, generator=torch.manual_seed(0)), dim=2)
    queries, documents, teacher = texts
    false_negatives = torch.eye(7, dtype=torch.bool).roll(1, 1)
    weights = torch.arange(1.0, 8)
    for parts in ([slice(0, 7)], [slice(0, 3), slice(3, 7)], [slice(0, 0), slice(0, 6), slice(6, 7)]):
        for given in (None, weights):
            whole = softmax_loss(queries, documents, 5.0, false_negatives, given)
            shared = [softmax_loss(queries, documents, 5.0, false_negatives, given, rows) for rows in parts]
            torch.testing.assert_close(sum(shared), whole)
        shared = [distillation_loss(queries, teacher, rows) for rows in parts]
        torch.testing.assert_close(sum(shared), distillation_loss(queries, teacher))


def test_how_hard_negatives_are_is_a_mean_over_the_queries_that_have_one():
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    documents = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    masked = torch.tensor([[False, False, False], [False, False, False], [True, True, False]])
    first = math.exp(0.6) / (math.exp(1) + math.exp(0.6) + math.exp(0))
    second = math.exp(1) / (math.exp(0) + math.exp(0.8) + math.exp(1))
    expected = ((1 + 0.8 + 0.8) / 3, (0.6 + 1) / 2, (first + second) / 2)
    assert hard_negative_statistics(queries, documents, 1.0, masked) == pytest.approx(expected)
    sums: list[torch.Tensor] = []

    def keep(part: torch.Tensor) -> torch.Tensor:
        sums.append(part)
        return torch.stack(sums).sum(0)

    for rows in (slice(0, 2), slice(2, 3)):
        statistics = hard_negative_statistics(queries, documents, 1.0, masked, rows, keep)
    assert statistics == pytest.approx(expected)
    alone = hard_negative_statistics(queries[2:], documents[2:], 1.0, masked[2:, 2:])
    assert alone == pytest.approx((0.8, 0, 0))
