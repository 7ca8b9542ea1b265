"""Analysis of variance against published tables, and how often it is wrong."""

import itertools
import math

import numpy as np
import pandas
import pytest
import scipy.stats

from ganlib.stats import CANNOT_TELL, SUPPORTED, Effect, anova, judge

FACTORS = ["learning_rate", "batch", "architecture"]
RATES, BATCHES, ARCHITECTURES = (1e-4, 5e-4, 1e-3, 5e-3), (8, 16, 32), ("plain", "gates", "both")

# R's mtcars: horsepower by cylinders and gearbox (0 automatic, 1 manual).
HORSEPOWER = {
    (4, 0): [62, 95, 97],
    (4, 1): [93, 66, 52, 65, 66, 91, 113, 109],
    (6, 0): [110, 105, 123, 123],
    (6, 1): [110, 110, 175],
    (8, 0): [175, 245, 180, 180, 180, 205, 215, 230, 150, 150, 245, 175],
    (8, 1): [264, 335],
}
# R's npk: the yield of peas by block and by which of N, P, K they were given.
PEAS = {
    1: {"PK": 49.5, "NP": 62.8, "": 46.8, "NK": 57.0},
    2: {"N": 59.8, "NPK": 58.5, "K": 55.5, "P": 56.0},
    3: {"P": 62.8, "NPK": 55.8, "N": 69.5, "K": 55.0},
    4: {"N": 62.0, "NPK": 48.8, "K": 45.5, "P": 44.2},
    5: {"NP": 52.0, "": 51.5, "NK": 49.8, "PK": 48.8},
    6: {"NK": 57.2, "NP": 59.0, "PK": 53.2, "": 56.0},
}


def grid(seeds=3):
    cells = itertools.product(RATES, BATCHES, ARCHITECTURES, range(seeds))
    return pandas.DataFrame(cells, columns=[*FACTORS, "seed"])


def noisy(table, seed=0, sd=1.0):
    return table.assign(jaccard=np.random.default_rng(seed).normal(0, sd, len(table)))


def cars():
    rows = [(c, g, hp) for (c, g), values in HORSEPOWER.items() for hp in values]
    return pandas.DataFrame(rows, columns=["cyl", "am", "hp"])


def peas():
    rows = [
        (block, *(name in given for name in "NPK"), found)
        for block, plots in PEAS.items()
        for given, found in plots.items()
    ]
    return pandas.DataFrame(rows, columns=["block", "N", "P", "K", "yield"])


def found(table, **options):
    verdicts = anova(table, "jaccard", FACTORS, **options).table["significant"]
    return any(verdict is True for verdict in verdicts)


def test_unbalanced_by_r():
    # car::Anova(aov(hp ~ cyl * am)), as in the reference of CGPfunctions::aovtype2.
    result = anova(cars(), "hp", ["cyl", "am"])
    for name, sum_sq, df, f, p in (
        ("cyl", 102729, 2, 60.1644, 1.759e-10),
        ("am", 7318, 1, 8.5716, 0.007009),
        ("cyl × am", 12181, 2, 7.1341, 0.003390),
    ):
        effect = result.effect(name)
        assert effect.sum_sq == pytest.approx(sum_sq, abs=0.5)
        assert (effect.df, effect.F) == (df, pytest.approx(f, abs=5e-5))
        assert effect.p == pytest.approx(p, rel=2e-4)
        assert effect.significant is True
    assert (result.residual_df, result.n, result.note) == (26, 32, None)
    assert result.residual_sd**2 * 26 == pytest.approx(22197, abs=0.5)
    # Holm: the smallest of three times 3, the next times 2, the last times 1.
    p, adjusted = result.table["p"], result.table["p_adjusted"]
    np.testing.assert_allclose(adjusted, [3 * p[0], p[1], 2 * p[2]])


def test_block_by_r():
    # summary(aov(yield ~ block + N*P*K, npk)), the example of ?npk.
    result = anova(peas(), "yield", ["N", "P", "K"], interactions=2, block="block")
    for name, sum_sq, f, p in (
        ("N", 189.28, 12.259, 0.00437),
        ("P", 8.40, 0.544, 0.47490),
        ("K", 95.20, 6.166, 0.02880),
        ("N × P", 21.28, 1.378, 0.26317),
        ("N × K", 33.14, 2.146, 0.16865),
        ("P × K", 0.48, 0.031, 0.86275),
        ("block", 343.29, 4.447, 0.01594),
    ):
        effect = result.effect(name)
        assert effect.sum_sq == pytest.approx(sum_sq, abs=0.006)
        assert (effect.F, effect.p) == (pytest.approx(f, abs=6e-4), pytest.approx(p, abs=6e-6))
    assert result.residual_df == 12
    block = result.effect("block")
    assert block.significant is None
    assert math.isnan(block.p_adjusted)
    # N × P × K is what the blocks differ by: asked for, it is there and nothing is made of it.
    result = anova(peas(), "yield", ["N", "P", "K"], interactions=3, block="block")
    whole = result.effect("N × P × K")
    assert (whole.df, whole.significant, result.residual_df) == (0, None, 12)
    assert "Not to be told from the other effects: N × P × K." in result.note


def test_is_statsmodels_own_where_no_cell_is_missing():
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm
    from statsmodels.stats.multitest import multipletests

    table = noisy(grid()).drop(index=[0, 1, 30, 31, 70])
    result = anova(table, "jaccard", FACTORS)
    fit = ols("jaccard ~ (C(learning_rate) + C(batch) + C(architecture)) ** 2", table).fit()
    expected = anova_lm(fit, typ=2).iloc[:-1]
    np.testing.assert_allclose(result.table["sum_sq"], expected["sum_sq"])
    np.testing.assert_allclose(result.table["p"], expected["PR(>F)"])
    adjusted = multipletests(result.table["p"], method="holm")[1]
    np.testing.assert_allclose(result.table["p_adjusted"], adjusted)


def test_published_grid_ranks_noise():
    # F(8, 27) = 1.28 of nine cells with four replicates: p = 0.29.
    rng = np.random.default_rng(0)
    noise, cells = rng.normal(size=(9, 4)), rng.normal(size=(9, 1))
    noise -= noise.mean(axis=1, keepdims=True)
    noise *= 0.012 / np.sqrt((noise**2).sum() / 27)
    cells *= 0.012 * np.sqrt(1.28 / 4) / cells.std(ddof=1)
    rows = [(c, 0.9 + cells[c, 0] + x) for c in range(9) for x in noise[c]]
    result = anova(pandas.DataFrame(rows, columns=["cell", "jaccard"]), "jaccard", ["cell"])
    effect = result.effect("cell")
    assert (effect.df, result.residual_df) == (8, 27)
    assert result.residual_sd == pytest.approx(0.012)
    assert (effect.F, round(effect.p, 2)) == (pytest.approx(1.28), 0.29)
    assert effect.significant is False


def test_effect_sizes_by_hand():
    # Means 1, 2, 3 with 0, ±1 around each: between 6, within 6, so F = 3 / 1.
    rows = [(level, level + x) for level in (1, 2, 3) for x in (-1, 0, 1)]
    effect = anova(pandas.DataFrame(rows, columns=["a", "y"]), "y", ["a"]).effect("a")
    assert (effect.F, effect.eta2) == (pytest.approx(3), pytest.approx(0.5))
    assert effect.omega2_partial == pytest.approx((6 - 2 * 1) / (6 + (9 - 2) * 1))
    assert effect.p == pytest.approx(scipy.stats.f.sf(3, 2, 6))


def test_no_effect_is_found_in_one_grid_of_twenty():
    table, tries = grid(), 300
    wrong = sum(found(noisy(table, seed)) for seed in range(tries))
    assert wrong <= scipy.stats.binom.ppf(0.999, tries, 0.05)


def test_no_effect_with_one_seed_or_blocks():
    for table, options in ((grid(seeds=1), {}), (grid(), {"block": "seed"})):
        wrong = sum(found(noisy(table, seed), **options) for seed in range(150))
        assert wrong <= scipy.stats.binom.ppf(0.999, 150, 0.05)


def test_an_effect_is_found():
    table, hits = grid(), 0
    shift = table["learning_rate"].map(dict(zip(RATES, (0, 0, 0, 2), strict=True)))
    for seed in range(40):
        runs = noisy(table, seed)
        result = anova(runs.assign(jaccard=runs["jaccard"] + shift), "jaccard", FACTORS)
        hits += result.effect("learning_rate").significant
    assert hits >= 38


def test_a_block_takes_what_runs_of_a_seed_share():
    table = noisy(grid(), sd=0.1)
    table["jaccard"] += table["seed"] * 3 + table["batch"].map({8: 0, 16: 0, 32: 0.1})
    assert not found(table)
    result = anova(table, "jaccard", FACTORS, block="seed")
    assert result.effect("batch").significant
    assert result.residual_sd == pytest.approx(0.1, rel=0.2)


def test_one_seed_a_cell():
    result = anova(noisy(grid(seeds=1)), "jaccard", FACTORS)
    assert result.residual_df == 3 * 2 * 2
    assert result.note == (
        "One run a cell: interactions of more than 2 factors serve as noise, and hide effects "
        "where there are any."
    )
    # Of two factors the only interaction gives way.
    two = noisy(grid(seeds=1)).query("architecture == 'plain'")
    result = anova(two, "jaccard", ["learning_rate", "batch"])
    assert list(result.table["effect"]) == ["learning_rate", "batch"]
    assert result.residual_df == 6
    assert result.note.startswith("One run a cell: interactions serve as noise")
    interaction = result.effect("batch × learning_rate")
    assert interaction.significant is None


def test_without_degrees_of_freedom_nothing_is_said():
    one = noisy(grid(seeds=1)).query("architecture == 'plain' and batch == 8")
    result = anova(one, "jaccard", FACTORS)
    assert (result.residual_df, result.residual_sd, result.n) == (0, None, 4)
    assert result.table["p"].isna().all()
    assert result.note == (
        "Left out, as there is one level only: batch, architecture. "
        "No degrees of freedom are left for the noise: only more seeds would tell."
    )
    for name in FACTORS:  # left out or not, a claim on it is undecided
        assert judge(result.effect(name).significant) == CANNOT_TELL
    assert result.effect("learning_rate").eta2 == pytest.approx(1)


def test_missing_cells():
    table = noisy(grid())
    table = table[~((table["batch"] == 32) & (table["architecture"] == "both"))]
    table = table[~((table["batch"] == 32) & (table["learning_rate"] == 5e-3))]
    result = anova(table, "jaccard", FACTORS)
    assert "6 of 36 cells have no run." in result.note
    # A pair of levels that never meet takes a degree of freedom from its interaction.
    pairs = itertools.combinations(FACTORS, 2)
    assert [result.effect(" × ".join(pair)).df for pair in pairs] == [5, 6, 3]
    # As R's anova() of nested fits has it: what a fit without the effect leaves, less one with it.
    from statsmodels.formula.api import ols

    others = "jaccard ~ C(learning_rate) * C(architecture)"
    expected = ols(others, table).fit().ssr - ols(f"{others} + C(batch)", table).fit().ssr
    assert result.effect("batch").sum_sq == pytest.approx(expected)
    assert result.effect("batch").df == 2


def test_missing_cells_do_not_make_effects():
    table = grid()
    rng = np.random.default_rng(0)
    wrong = 0
    for seed in range(100):
        runs = noisy(table, seed)
        lost = runs.groupby(FACTORS).ngroup().isin(rng.choice(36, 8, replace=False))
        wrong += found(runs[~lost])
    assert wrong <= scipy.stats.binom.ppf(0.999, 100, 0.05)


def test_runs_without_a_value_are_counted():
    table = noisy(grid())
    table.loc[[3, 50], "jaccard"] = math.nan
    table.loc[7, "jaccard"] = math.inf
    result = anova(table, "jaccard", FACTORS)
    assert result.n == 105
    assert "3 of 108 runs have no finite value and are left out." in result.note
    expected = anova(table.drop(index=[3, 7, 50]), "jaccard", FACTORS).table
    pandas.testing.assert_frame_equal(result.table, expected)
    nothing = anova(table.assign(jaccard=None), "jaccard", FACTORS)
    assert (nothing.n, len(nothing.table), nothing.residual_df) == (0, 0, 0)
    assert "No run is left." in nothing.note
    assert nothing.effect("batch").significant is None


def test_equal_values():
    result = anova(grid().assign(jaccard=0.1 + 0.2), "jaccard", FACTORS)
    assert "All runs have the same value" in result.note
    assert result.table["p"].isna().all()
    assert result.effect("batch").significant is None


def test_without_noise_an_effect_is_there_or_is_not():
    # Such as the number of parameters, which is the architecture's.
    table = grid()
    sizes = {"plain": 31_401_556, "gates": 37_334_665, "both": 39_090_377}
    table["jaccard"] = table["architecture"].map(sizes)
    result = anova(table, "jaccard", FACTORS)
    assert "There is no noise" in result.note
    effect = result.effect("architecture")
    assert (effect.F, effect.p, effect.significant) == (math.inf, 0, True)
    assert (effect.eta2, effect.omega2_partial) == (pytest.approx(1), pytest.approx(1))
    assert (result.effect("batch").F, result.effect("batch").significant) == (0, False)
    assert judge(effect.significant) == SUPPORTED


def test_text_holds_no_numbers_and_html_does():
    result = anova(cars(), "hp", ["cyl", "am"])
    assert repr(result) == "<analysis of variance over cyl, am>"
    page = result._repr_html_()
    assert "cyl × am" in page
    assert "60.2" in page
    assert "&lt; 0.001" in page
    assert "32 runs, 26 degrees of freedom" in page
    assert anova(grid().assign(jaccard=1.0), "jaccard", FACTORS)._repr_html_()


def test_effect_is_a_row():
    result = anova(cars(), "hp", ["cyl", "am"])
    assert isinstance(result.effect("am × cyl"), Effect)
    assert result.effect("am × cyl") == result.effect("cyl × am")
    with pytest.raises(ValueError, match="Received: 'gears'"):
        result.effect("gears")


def test_factors_of_any_kind_and_name():
    table = cars().rename(columns={"cyl": "C", "am": "Q(1)"})
    table["C"] = table["C"].astype(str).astype("category")
    expected = anova(cars(), "hp", ["cyl", "am"]).table["F"]
    np.testing.assert_allclose(anova(table, "hp", ["C", "Q(1)"]).table["F"], expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"response": "loss"}, "Received: 'loss'"),
        ({"factors": ["batch", "width"]}, "Received:.*width"),
        ({"factors": ["batch", "batch"]}, "must be different columns"),
        ({"factors": []}, "must be different columns"),
        ({"factors": ["batch"], "block": "batch"}, "must be different columns"),
        ({"factors": ["batch"], "interactions": 0}, "Received: 0"),
    ],
)
def test_errors(arguments, message):
    arguments = {"response": "jaccard", "factors": FACTORS} | arguments
    with pytest.raises(ValueError, match=message):
        anova(noisy(grid()), **arguments)


def test_a_run_without_its_factor():
    table = noisy(grid()).astype({"batch": "float"})
    table.loc[0, "batch"] = math.nan
    with pytest.raises(ValueError, match=r"Received: none in \['batch'\]"):
        anova(table, "jaccard", FACTORS)
