"""How a stage's preflight is printed: parts and learning rates, rows, memory, the first loss."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from sightline.training.preflight import StageReport, remedies
from sightline.training.recipe import PARTS
from sightline.training.stage import StageRun

__all__ = ["show"]

GUESS_FACTOR = 1.5  # a model's first loss may be so many times a uniform guess's
FULL = 0.9  # of the memory, from where on it is worth a warning


def show(report: StageReport, run: StageRun, console: Console) -> None:
    """Print what was seen of `run`'s stage."""
    console.print(_parts(report, run))
    if tune := run.recipe.tune:
        _say(console, f"tuning: {tune}, because {tune.because}")
    _say(console, f"rows: {report.rows}")
    for line in report.coverage:
        _say(console, line)
    if report.language:
        _say(console, f"warning: {report.language}")
    _say(console, f"worst batch: {report.worst}: peak {report.peak / 2**30:.2f} of {report.limit / 2**30:.1f} GiB")
    if report.peak > FULL * report.limit:
        _say(console, f"warning: that is {report.peak / report.limit:.0%} of the memory: {remedies(run)}")
    what = "names" if run.stage.is_contrastive else "vocabulary"
    # The step's own loss, which is what the log goes on with.
    balanced = run.model.config.use_moe and not run.stage.reads_regions
    loss = f"first loss {report.first_loss:.3f}" + (", the routers' balance losses in it" if balanced else "")
    _say(console, f"{loss}; a guess over the {what} costs {report.guess:.3f}")
    if report.first_loss > GUESS_FACTOR * report.guess:
        _say(
            console,
            "warning: the first loss is far above a guess: do tokenizer and model belong together, and are the labels "
            "what the assistant says?",
        )


def _say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, highlight=False, markup=False)


def _parts(report: StageReport, run: StageRun) -> Table:
    stage, rates = run.stage, _rates(run)
    unit = next(name for name in ("steps", "samples", "tokens", "minutes") if getattr(stage, name) is not None)
    duration = f"{getattr(stage, unit):,} {unit}, batches of {run.settings.batch_size}"
    table = Table(title=f"stage {stage.name}: {stage.kind}, {duration}", title_justify="left")
    for column in ("part", "parameters", "trained", "learning rate"):
        table.add_column(column, justify="right" if column in ("parameters", "trained") else "left")
    for part in PARTS:
        total, trained = report.parameters[part]
        table.add_row(part, f"{total:,}", f"{trained:,}" if trained else "frozen", rates.get(part, ""))
    return table


def _rates(run: StageRun) -> dict[str, str]:
    """By part, the learning rates of its groups."""
    rates: dict[str, dict[str, float]] = {}
    for optimizer in run.optimizers:
        for group in optimizer.param_groups:
            rates.setdefault(group["part"], {})[type(optimizer).__name__] = group["initial_lr"]
    return {part: ", ".join(f"{lr:g} ({name})" for name, lr in by.items()) for part, by in rates.items()}
