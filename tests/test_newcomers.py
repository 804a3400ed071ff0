"""What a newcomer types first works, or says what to write instead."""

from __future__ import annotations

import pytest
from torch import nn

import rankstudy
from rankstudy import MLP, Data, Training, add_lora, analyze, build, evaluate, factorised, finetune, merged, train
from rankstudy.book.plots import curves
from rankstudy.data import load
from rankstudy.finetuning import new_and_old, reading
from rankstudy.layers import weights
from rankstudy.lora import load_adapters, save_adapters, trainable
from rankstudy.measure import flops, latency, parameters, training_memory


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, data: train(model, Training(1), data, 0), "models must be one network, or a list"),
        (lambda model, data: train(1, model, data, 0), "config must be a Training"),
        (lambda model, data: evaluate(model, data), "split must be one of a Dataset's, such as dataset.test"),
        (lambda model, data: finetune(model, data, 1e-3), "old must be a Split, such as dataset.train; got float"),
        (lambda model, data: build((784, 32, 10), 0), r"config must be a Network, as in build\(Network"),
        (lambda model, data: factorised(16, model), r"as in factorised\(model, 16\); got int"),
        (lambda model, data: factorised(model.layers[0].weight, 16), "got Parameter"),
        (lambda model, data: add_lora(4, model), r"as in add_lora\(model, 4\); got int"),
        (lambda model, data: merged([model]), "model must be a torch.nn.Module"),
        (lambda model, data: save_adapters("a.safetensors", model), "model comes first, a torch.nn.Module; got str"),
        (lambda model, data: load_adapters("a.safetensors", model), "model comes first, a torch.nn.Module; got str"),
        (lambda model, data: trainable(data), "got Dataset"),
        (lambda model, data: finetune(data.train, model), r"as in finetune\(adapted, split\); got Split"),
        (lambda model, data: new_and_old(model, data, 9), "split must be one of a Dataset's, such as dataset.test"),
        (lambda model, data: reading(model, data, 9), "split must be one of a Dataset's, such as dataset.test"),
        (lambda model, data: latency(data.test.images, model), r"as in latency\(model, images\); got Tensor"),
        (lambda model, data: latency(model, data.test), r"as dataset.test.images\[:128\]; got Split"),
        (lambda model, data: training_memory(model, data.test.images, Training(1)), "config must be a Training"),
        (lambda model, data: training_memory(model, Training(1), 128), "images must be a tensor"),
        (lambda model, data: flops(model, 1), "images must be a tensor"),
        (lambda model, data: parameters(data), "got Dataset"),
        (lambda model, data: weights(nn.Sequential(nn.Linear(2, 2))), r"rankstudy.analyze\(model\) finds the matrices"),
        (lambda model, data: train(Training(1), model, data, 0.5), "seeds must be a whole number, or one for each"),
        (lambda model, data: train(Training(1), model, data, None), "seeds must be a whole number, or one for each"),
        (lambda model, data: train(Training(1), [0], data, [0]), r"models\[0\] must be a torch.nn.Module, got int"),
        (lambda model, data: curves(train(Training(1), model, data, 0)), "histories must be by name, as in curves"),
    ],
)
def test_what_a_newcomer_types_first_is_answered_by_what_to_write_instead(call, message):
    with pytest.raises(TypeError, match=message):
        call(MLP(784, 8, 10), load("digits"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda data: MLP(784, 64, 10, True), "there is no bias to ask for"),
        (lambda data: train(Training(1), MLP(784, 8, 5), data, 0), "has 5 outputs, and labels go up to 9"),
        (lambda data: train(Training(1), MLP(100, 8, 10), data, 0), "takes 100 inputs, and an image has 784 pixels"),
        (lambda data: train(Training(1), [MLP(784, 8, 10)] * 2, data, [0, 1]), r"models\[1\] is another of the models"),
        (lambda data: new_and_old(MLP(784, 8, 10), data.test, 11), "digit must be a whole number from 0 to 9, got 11"),
        (lambda data: new_and_old(MLP(784, 8, 10), data.test, (9,)), r"from 0 to 9, got \(9,\)"),
        (lambda data: load(Data("digits", without=9)), r"5000 unless it is given.* Data\(name, validation_size=239\)"),
    ],
)
def test_what_cannot_be_is_refused_with_what_was_found(call, message):
    with pytest.raises(ValueError, match=message):
        call(load("digits"))


def test_a_name_that_is_slightly_off_is_answered_by_the_right_one():
    with pytest.raises(AttributeError, match="entropy_rank is Roy and Vetterli's, and smallest_rank"):
        _ = rankstudy.effective_rank
    with pytest.raises(AttributeError, match="'factorized'; there is factorised"):
        _ = rankstudy.factorized
    with pytest.raises(AttributeError, match=r"'nothing_like_it'$"):
        _ = rankstudy.nothing_like_it


def test_a_history_is_drawn_by_name_and_says_which_names_it_has():
    history = train(Training(1), MLP(784, 8, 10), load("digits"), 0)
    assert len(curves({"mine": history}).figures) == 2
    for wrong in (0, "accuracy"):  # plt.plot(history) asks for 0
        with pytest.raises(KeyError, match="there are train_loss, train_accuracy"):
            history[wrong]


def test_one_digit_need_not_be_a_tuple():
    assert Data("mnist", without=9) == Data("mnist", without=(9,)) and Data("mnist", only=4).only == (4,)
    with pytest.raises(ValueError, match="only must be a whole number from 0 to 9, got 'four'"):
        Data("mnist", only="four")


def test_a_small_data_set_is_loaded_by_its_name():
    digits = load("digits")
    assert (len(digits.train), len(digits.validation), len(digits.test)) == (1198, 239, 360)


def test_an_analysis_shows_its_table_in_a_notebook():
    shown = analyze(MLP(784, 8, 10))._repr_markdown_()
    assert "layers.0.weight" in shown and "|" in shown and "singular_values" not in shown
