"""Time and memory of LoRA Dropout against N, relative to plain LoRA."""

from typing import TYPE_CHECKING

from figures.style import MARKERS, Drawing, curve_colours, style

if TYPE_CHECKING:
    from probes.cost import CostResult


def draw(result: "CostResult") -> Drawing:
    """Draw time and memory.

    Returns:
        A figure of three panels against N on logarithmic axes: time of a training step by passes
        and in one grouped pass, its peak memory, and time of inference by the ensemble; the dashed
        line is N, the dotted lines are the quartiles of plain LoRA against itself.
    """
    summary = result.summary
    with style():
        figure = Drawing(figsize=(12, 4.2))
        panels = figure.subplots(1, 3)
        for axes, phase, name, label in zip(
            panels,
            ("training", "training", "inference"),
            ("ratio", "memory", "ratio"),
            ("time of a training step", "peak memory of a training step", "time of inference"),
            strict=True,
        ):
            group = summary[(summary["phase"] == phase) & (summary["N"] > 0)]
            variants = list(dict.fromkeys(group["variant"]))
            for variant, colour, marker in zip(
                variants, curve_colours(len(variants)), MARKERS, strict=False
            ):
                curve = group[group["variant"] == variant]
                error = None
                if name == "ratio":
                    error = [curve["ratio"] - curve["ratio_low"],
                             curve["ratio_high"] - curve["ratio"]]  # fmt: skip
                axes.errorbar(curve["N"], curve[name], yerr=error, color=colour, marker=marker,
                              capsize=2, label=variant)  # fmt: skip
            sizes = sorted(group["N"].unique())
            axes.plot(sizes, sizes, color="0.5", linestyle="--", linewidth=1, label="N times")
            control = summary[
                (summary["phase"] == phase) & summary["variant"].str.contains("control")
            ]
            if name == "ratio":
                for end in ("ratio_low", "ratio_high"):
                    axes.axhline(float(control[end].iloc[0]), color="0.3", linestyle=":",
                                 linewidth=1)  # fmt: skip
            axes.set(xscale="log", yscale="log", xlabel="N", title=label,
                     ylabel="relative to plain LoRA")  # fmt: skip
            axes.set_xticks(sizes, [str(size) for size in sizes])
            axes.set_yticks(sizes, [str(size) for size in sizes])
            axes.minorticks_off()
            axes.legend(framealpha=0.9)
        figure.suptitle(
            f"{result.setting}; medians and quartiles; dotted: plain LoRA against itself",
            fontsize="small",
        )
    return figure
