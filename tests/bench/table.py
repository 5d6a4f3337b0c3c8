"""The table that the benchmark prints: a line of what was measured, beside its goal where it has one.

Comes in: figures of bare and of chi. Goes out: lines on standard output. It measures nothing.
"""

import statistics

MIB = 1024  # /proc counts in KiB


def row(what, bare_figure="", chi_figure="", figure="", target="", passed=None):
    """Print one line of the table; without a target it is there for comparison."""
    verdict = {True: "PASS", False: "miss", None: ""}[passed]
    line = f"{what:<45}{bare_figure:>14}{chi_figure:>14}{figure:>9}  {target:<9}{verdict}"
    print(line.rstrip(), flush=True)


def ratio_of(bare_rounds, chi_rounds):
    """Return the medians of both, and of the ratios of the rounds."""
    ratio = statistics.median(c / b for b, c in zip(bare_rounds, chi_rounds))
    return statistics.median(bare_rounds), statistics.median(chi_rounds), ratio


def at_least(what, bare_rounds, chi_rounds, target=None):
    """Print a ratio of rounds that is to be high, or one without a target."""
    bare, chi, ratio = ratio_of(bare_rounds, chi_rounds)
    figures = f"{bare:,.0f}", f"{chi:,.0f}", f"{ratio:.2f}"
    if target is None:
        row(what, *figures)
    else:
        row(what, *figures, f">= {target:.2f}", ratio >= target)


def at_most(what, bare_rounds, chi_rounds, target, form):
    """Print a ratio of rounds that is to be low, or one without a target."""
    bare, chi, ratio = ratio_of(bare_rounds, chi_rounds)
    figures = form(bare), form(chi), f"{ratio:.2f}"
    if target is None:
        row(what, *figures)
    else:
        row(what, *figures, f"<= {target:.2f}", ratio <= target)


def microseconds(value):
    """Write seconds as microseconds."""
    return f"{value * 1e6:,.0f} µs"


def milliseconds(value):
    """Write seconds as milliseconds."""
    return f"{value * 1e3:.3f} ms"


def mebibytes(value):
    """Write KiB as MiB."""
    return f"{value / MIB:.1f} MiB"
