"""The training objective, worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from retrieval.training.loss import distillation_loss, softmax_loss

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
