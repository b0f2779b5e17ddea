"""The peephole LSTM layer against a float64 version, the ONNX operator and numeric gradients."""

from __future__ import annotations

import builtins

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from retrieval.towers.peephole import compiled, plain
from retrieval.towers.peephole import layer as peephole
from retrieval.towers.peephole.layer import PeepholeLSTM, pack, peephole_lstm


def sigm(x):
    return 1 / (1 + np.exp(-x))


def step_by_step(texts, layer):
    """The equations of Gers et al. one text and one word at a time, in float64; y (T, H) of each text."""
    H = layer.size
    R = layer.recurrent.detach().double().numpy()
    P = layer.peepholes.detach().double().numpy()
    outputs = []
    for x in texts:
        y, c = np.zeros(H), np.zeros(H)
        states = []
        for x_t in x.astype(np.float64):
            z = x_t + R @ y
            i, f = sigm(z[:H] + P[0] * c), sigm(z[H : 2 * H] + P[1] * c)
            c = f * c + i * np.tanh(z[2 * H : 3 * H])
            y = sigm(z[3 * H :] + P[2] * c) * np.tanh(c)
            states.append(y)
        outputs.append(np.array(states))
    return outputs


def random_layer(size, seed=0):
    torch.manual_seed(seed)
    layer = PeepholeLSTM(None, size)
    with torch.no_grad():
        layer.peepholes.normal_()
    return layer


def random_texts(lengths, width, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(length, width)).astype(np.float32) for length in lengths]


def run_layer(layer, texts):
    """Outputs of the packed layer, unpacked to one (T, H) array a text."""
    packing = pack(torch.tensor([len(text) for text in texts]))
    x = torch.from_numpy(np.concatenate(texts))[packing.gather]
    y = layer(x, packing.counts).detach()
    unpacked = torch.empty_like(y)
    unpacked[packing.gather] = y
    return np.split(unpacked.numpy(), np.cumsum([len(text) for text in texts])[:-1])


@pytest.mark.parametrize("lengths", [[1], [3, 7, 1, 7, 2], [64] * 5])
def test_outputs_equal_the_equations_step_by_step(lengths):
    layer = random_layer(6)
    texts = random_texts(lengths, layer.recurrent.shape[0])
    for got, expected in zip(run_layer(layer, texts), step_by_step(texts, layer), strict=True):
        np.testing.assert_allclose(got, expected, atol=2e-6)


def test_outputs_equal_the_onnx_operator_with_peepholes():
    H, lengths = 5, [4, 9, 1, 6]
    layer = random_layer(H)
    texts = random_texts(lengths, 4 * H, seed=1)
    steps = max(lengths)
    padded = np.zeros((steps, len(texts), 4 * H), np.float32)
    for column, text in enumerate(texts):
        padded[: len(text), column] = text
    # ONNX gate order is i, o, f, c and its peepholes are i, o, f; here i, f, g, o and i, f, o.
    i, f, g, o = (np.eye(4 * H, dtype=np.float32)[k * H : (k + 1) * H] for k in range(4))
    Ri, Rf, Rg, Ro = np.split(layer.recurrent.detach().numpy(), 4)
    Pi, Pf, Po = layer.peepholes.detach().numpy()
    node = onnx.helper.make_node(
        "LSTM", ["X", "W", "R", "B", "lengths", "h0", "c0", "P"], ["Y"], hidden_size=H
    )
    constants = {
        "W": np.concatenate([i, o, f, g])[None],
        "R": np.concatenate([Ri, Ro, Rf, Rg])[None],
        "B": np.zeros((1, 8 * H), np.float32),
        "lengths": np.array(lengths, np.int32),
        "h0": np.zeros((1, len(texts), H), np.float32),
        "c0": np.zeros((1, len(texts), H), np.float32),
        "P": np.concatenate([Pi, Po, Pf])[None],
    }
    graph = onnx.helper.make_graph(
        [node],
        "lstm",
        [onnx.helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, padded.shape)],
        [onnx.helper.make_tensor_value_info("Y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"X": padded})
    for column, got in enumerate(run_layer(layer, texts)):
        np.testing.assert_allclose(got, expected[: len(got), 0, column], atol=2e-6)


@pytest.mark.parametrize("lengths", [[1], [2, 5, 1, 5]])
@pytest.mark.parametrize("block", [1, 1 << 17])
def test_gradients_equal_numeric_ones(lengths, block, monkeypatch):
    monkeypatch.setattr("retrieval.towers.peephole.plain._BLOCK_ELEMENTS", block)
    layer = random_layer(3).double()
    x = torch.randn(sum(lengths), layer.recurrent.shape[0], dtype=torch.float64, requires_grad=True)
    counts = pack(torch.tensor(lengths)).counts
    assert torch.autograd.gradcheck(
        lambda *tensors: peephole_lstm(*tensors, counts), (x, layer.recurrent, layer.peepholes)
    )


def test_packing_takes_longest_text_first_and_step_by_step():
    packing = pack(torch.tensor([1, 3, 2]))
    assert packing.counts == ((3, 2, 1),)
    assert packing.gather.tolist() == [1, 4, 0, 2, 5, 3]


def test_gate_inputs_add_the_bias_with_and_without_a_projection():
    layer = PeepholeLSTM(2, 1)
    with torch.no_grad():
        layer.input.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 0.0]]))
        layer.bias.copy_(torch.tensor([0.0, 1.0, 0.0, 0.5]))
    assert layer.gate_inputs(torch.tensor([[3.0, 5.0]])).tolist() == [[3.0, 6.0, 8.0, 6.5]]
    direct = PeepholeLSTM(None, 1)
    assert direct.gate_inputs(torch.zeros(1, 4)).tolist() == [[0.0, 1.0, 0.0, 0.0]]


# Narrow or wide, with and without numbers left over by vectors and by panels of the product.
@pytest.mark.parametrize("size", [3, 8, 21, 64, 76, 100, 128])
@pytest.mark.parametrize("lengths", [[1], [3, 9, 1, 9], [5, 2, 40] * 13])
def test_compiled_steps_equal_plain_ones(size, lengths):
    torch.manual_seed(0)
    counts = pack(torch.tensor(lengths)).counts
    x = torch.randn(sum(lengths), 4 * size, requires_grad=True)
    layer = random_layer(size)
    grad_y = torch.randn(sum(lengths), size)
    results = []
    for steps in (compiled, plain):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(peephole, "_steps", lambda x, steps=steps: steps)
            y = layer(x, counts)
            results.append((y, *torch.autograd.grad(y, (x, layer.recurrent, layer.peepholes), grad_y)))
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(
            fast, slow, atol=2e-5 * max(1.0, float(slow.detach().abs().max())), rtol=2e-4
        )


@pytest.mark.parametrize("size", [3, 64, 100])
@pytest.mark.parametrize("steps", [compiled, plain])
def test_rows_looked_up_by_place_equal_rows_in_order(size, steps, monkeypatch):
    monkeypatch.setattr(peephole, "_steps", lambda x: steps)
    lengths = torch.tensor([4, 1, 7] * 30)
    counts = pack(lengths).counts
    layer, words = random_layer(size), int(lengths.sum())
    places, grad_y = torch.randint(0, 5, (words,)), torch.randn(words, size)
    x = torch.randn(5, 4 * size, requires_grad=True)
    results = []
    for inputs, where in ((x, places), (x[places], None)):
        y = layer(inputs, counts, where)
        gradients = torch.autograd.grad(y, (x, layer.recurrent, layer.peepholes), grad_y)
        with torch.no_grad():
            results.append((layer(inputs, counts, where), y, *gradients))
    for looked_up, in_order in zip(*results, strict=True):
        torch.testing.assert_close(looked_up, in_order, atol=1e-3, rtol=1e-4)


def test_parts_in_threads_equal_one_part(monkeypatch):
    lengths = [5, 2, 9, 1] * 20
    layer, texts = random_layer(8), random_texts(lengths, 32)
    alone = run_layer(layer, texts)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert len(pack(torch.tensor(lengths)).counts) == 2
    for got, expected in zip(run_layer(layer, texts), alone, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_tanh_of_compiled_steps_is_within_three_in_ten_million():
    size = 32
    x = np.linspace(-12, 12, 20_000, dtype=np.float32)
    inputs = torch.full((len(x) // size, 4, size), 100.0)
    inputs[:, 2] = torch.from_numpy(x.reshape(-1, size))
    y = peephole_lstm(inputs.flatten(1), torch.zeros(4 * size, size), torch.zeros(3, size), [[len(inputs)]])
    expected = np.tanh(np.tanh(x.astype(np.float64)))
    np.testing.assert_allclose(y.numpy().ravel(), expected, atol=6e-7)


@pytest.mark.parametrize("size", [64, 100])
def test_nan_reaches_the_outputs_of_its_text(size):
    packing = pack(torch.tensor([3, 3]))
    x = torch.randn(6, 4 * size)
    x[packing.gather == 0] = torch.nan  # the first word of the first text
    first = packing.gather < 3
    assert torch.isnan(random_layer(size)(x, packing.counts)).any(1).tolist() == first.tolist()


@pytest.mark.parametrize("error", [ImportError("no numba"), RuntimeError("no locator available")])
def test_without_numba_the_plain_steps_run(error, monkeypatch):
    def fail(name, *args, **kwargs):
        if "compiled" in (args[2] or ()):
            raise error
        return original(name, *args, **kwargs)

    original = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", fail)
    assert peephole._compiled.__wrapped__() is None
