"""What `compress` did, as text, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rankstudy.tools import tables


@dataclass(frozen=True)
class Choice:
    """What was done with one matrix."""

    name: str
    shape: tuple[int, int]
    rank: int | None  # None where it stays as it is
    error: float  # ‖W − BC‖/‖W‖, measured after rounding; 0 where it stays
    why: str = ""  # it stays
    method: str = ""  # "svd", or "weighted": by the inputs that calibration saw
    drop: float | None = None  # fall of the metric when this matrix alone is truncated so


@dataclass(frozen=True)
class Compression:
    """What `compress` did."""

    choices: tuple[Choice, ...]
    left_out: dict[str, str]  # name -> why it is no matrix
    not_written: tuple[str, ...]  # names of what is not in the file
    parameters: tuple[int, int]  # of the network, before and after; tied weights count once
    memory: tuple[int, int]  # bytes of its tensors, before and after `load_compressed`
    disk: tuple[int, int]  # bytes of the files; 0 where there is none
    amount: str  # what was asked
    out: str = ""  # what was written, and is to be loaded by `load_compressed`
    dense: bool = False  # or by the model itself
    scores: tuple[float, float] | None = None  # of the metric, before and after
    model: Any = field(default=None, repr=False)  # of a module: a copy with the factors in place

    @property
    def ranks(self) -> dict[str, int | None]:
        """Rank of each matrix, None where it stays as it is."""
        return {choice.name: choice.rank for choice in self.choices}

    def __str__(self) -> str:
        return self.table()

    def table(self) -> str:
        """What the command prints."""
        rows = [
            [tables.plain(c.name), "×".join(map(str, c.shape)), str(c.rank or "stays"),
             f"{c.error:.4f}" if c.rank else "",
             f"{1 - c.rank * sum(c.shape) / math.prod(c.shape):.0%}" if c.rank else "",
             c.why + ("weighted" if c.method == "weighted" else "") + ("" if c.drop is None else f" drop {c.drop:.3g}")]
            for c in self.choices
        ]  # fmt: skip
        heads = ["matrix", "m × n", "rank", "error ‖W − BC‖/‖W‖", "saves", "note"]
        return "\n".join(
            [tables.aligned(heads, rows, (0, 5)), *tables.left_out_lines(self.left_out), tables.wrap(self.summary())]
        )

    def summary(self) -> str:
        """Sizes, in a line or two."""
        done = sum(c.rank is not None for c in self.choices)
        said = (
            f"{done} of {len(self.choices)} matrices as factors ({self.amount}); parameters {self.parameters[0]:,} -> "
        )
        said += f"{self.parameters[1]:,} ({self.parameters[1] / max(1, self.parameters[0]):.0%})"
        said += f"; in memory {self.memory[0] / 1e6:.1f} -> {self.memory[1] / 1e6:.1f} MB"
        if self.disk[1]:
            before = f"{self.disk[0] / 1e6:.1f} -> " if self.disk[0] else ""
            said += f"; on disk {before}{self.disk[1] / 1e6:.1f} MB"
        if self.scores is not None:
            said += f"; metric {self.scores[0]:.6g} -> {self.scores[1]:.6g}"
        elif done:
            said += "; how well the network still does, the errors do not tell: measure it"
        if self.out:
            load = "safetensors.torch.load_file" if self.dense else "rankstudy.load_compressed"
            said += f"; written to {Path(self.out).name}, which {load} reads"
        if not done:
            said += "; nothing pays: more error, fewer parameters to keep, or --include may"
        return said

    def json(self) -> str:
        """All of it as one object."""
        content = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("choices", "model")}
        content["choices"] = [asdict(choice) for choice in self.choices]
        content["left_out"] = [{"name": name, "why": why} for name, why in self.left_out.items()]
        return json.dumps(content, ensure_ascii=False, indent=1) + "\n"

    def csv(self) -> str:
        """A row a matrix, and one for each tensor that is left out."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(Choice.__dataclass_fields__), restval="")
        writer.writeheader()
        writer.writerows({**asdict(c), "shape": "x".join(map(str, c.shape))} for c in self.choices)
        writer.writerows({"name": name, "why": f"left out: {why}"} for name, why in self.left_out.items())
        return text.getvalue()
