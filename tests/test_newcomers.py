"""What a newcomer types first works, or says what to write instead."""

from __future__ import annotations

import pytest

from rankstudy import MLP, Data, Training, analyze, build, evaluate, finetune, train
from rankstudy.book.plots import curves
from rankstudy.data import load


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, data: train(model, Training(1), data, 0), "models must be one network, or a list"),
        (lambda model, data: train(1, model, data, 0), "config must be a Training"),
        (lambda model, data: evaluate(model, data), "split must be one of a Dataset's, such as dataset.test"),
        (lambda model, data: finetune(model, data, 1e-3), "old must be a Split, such as dataset.train; got float"),
        (lambda model, data: build((784, 32, 10), 0), r"config must be a Network, as in build\(Network"),
        (lambda model, data: curves(train(Training(1), model, data, 0)), "histories must be by name, as in curves"),
    ],
)
def test_what_a_newcomer_types_first_is_answered_by_what_to_write_instead(call, message):
    with pytest.raises(TypeError, match=message):
        call(MLP(784, 8, 10), load("digits"))


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
