import numpy as np

from search.monitor.trial_plots import confusion_figure, roc_figure

TRUTH = np.array([[1, 0, 1], [1, 0, 0], [0, 0, np.nan], [0, 0, 1]])
PROBABILITY = np.array([[0.9, 0.4, 0.2], [0.6, 0.1, 0.3], [0.5, 0.2, 0.9], [0.1, 0.7, 0.4]])
NAMES = ("Edema", "Fracture", "Pleural Effusion")


def test_the_roc_legend_has_all_observations_the_best_first_and_the_undefined_last() -> None:
    (axes,) = roc_figure(NAMES, TRUTH, PROBABILITY).axes
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["1.000  Edema", ".500  Pleural Effusion", "-  Fracture"]
    curve = axes.get_lines()[2].get_xydata()
    assert np.asarray(curve).tolist() == [[0, 0], [0, 0.5], [1, 0.5], [1, 1]]


def test_confusion_matrices_are_at_half_and_at_youdens_threshold() -> None:
    (axes,) = confusion_figure(NAMES, TRUTH, PROBABILITY).axes
    texts = [text.get_text() for text in axes.texts]
    counts = [text for text in texts if text.endswith("%)")]
    assert counts[:4] == ["2  (100 %)", "1  (50 %)", "0  (0 %)", "1  (50 %)"]  # tp, fp, fn, tn
    assert counts[4:8] == ["2  (100 %)", "0  (0 %)", "0  (0 %)", "2  (100 %)"]
    assert "at Youden's .6" in texts
    assert texts.count("undefined") == 1  # Fracture has no positive, so no Youden's threshold
    assert [text for text in texts if text in NAMES] == list(NAMES)
