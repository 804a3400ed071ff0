"""What fine-tuning adds to a weight matrix: the spectrum of ΔW, and how much of it lies where W is largest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rankstudy import spectrum

KEPT = 40  # singular values of ΔW that are kept
DIRECTIONS = 10  # leading singular directions of W; as many as there are classes


def leading(weights: Sequence[np.ndarray], count: int = DIRECTIONS) -> list[tuple[np.ndarray, np.ndarray]]:
    """(out, k) and (k, in) per layer: the k leading left and right singular vectors, k = min(count, out, in)."""
    triplets = [np.linalg.svd(np.asarray(weight, dtype=np.float64), full_matrices=False) for weight in weights]
    return [(u[:, :count], vh[:count]) for u, _, vh in triplets]


def shares(update: np.ndarray, directions: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    """‖UᵀΔW V‖²_F / ‖ΔW‖²_F, and what a ΔW without any preference has on average: k²/(out·in). 0 for ΔW = 0."""
    u, vh = directions
    energy = float((update**2).sum())
    inside = float(((u.T @ update @ vh.T) ** 2).sum())
    return (inside / energy if energy else 0.0), u.shape[1] * vh.shape[0] / update.size


def measure(
    before: Sequence[np.ndarray], after: Sequence[np.ndarray], directions: Sequence[tuple[np.ndarray, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Per layer, of ΔW = after − before (each (out, in)).

    Returns: `update_spectrum` (layers, KEPT) float32, padded with 0; `update_norm`, relative to ‖W‖_F; `update_rank`,
    the directions that hold 90 % of ‖ΔW‖²_F; `update_share` (layers, [measured, by chance]), see `shares`.
    """
    singular = np.zeros((len(before), KEPT), dtype=np.float32)
    norm, rank, share = np.zeros(len(before)), np.zeros(len(before)), np.zeros((len(before), 2))
    for layer, (old, new, leads) in enumerate(zip(before, after, directions, strict=True)):
        update = np.asarray(new, dtype=np.float64) - old
        share[layer] = shares(update, leads)
        if not update.any():
            continue
        values = np.linalg.svd(update, compute_uv=False)
        singular[layer, : len(values)] = values[:KEPT]
        norm[layer] = np.linalg.norm(values) / np.linalg.norm(old)
        rank[layer] = spectrum.energy_rank(spectrum.Spectrum(values, update.shape), 0.9)
    return {"update_spectrum": singular, "update_norm": norm, "update_rank": rank, "update_share": share}
