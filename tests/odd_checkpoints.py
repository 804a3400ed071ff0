"""Files that public bug reports and real trainings are full of, each with what should become of it.

`corpus(folder)` writes them; a case is a path, the exit code, and texts that the output must have.
"""

from __future__ import annotations

import collections
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import save, save_file
from torch import nn

RNG = np.random.default_rng(1)
ADAPTERS = ("adapter", "kohya.safetensors", "diffusers.safetensors")  # cases that are nothing else


class Case(NamedTuple):
    """A file, and what `analyze` is to say of it."""

    path: Path
    code: int
    said: tuple[str, ...]


class Refused:
    """Pickles by reference to this class; loading it would run code."""

    def __reduce__(self):
        return (print, ("code ran",))


def weight(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.from_numpy(RNG.standard_normal(shape or (24, 20)).astype(np.float32)).to(dtype)


def safetensors(
    tensors: dict[str, tuple[str, list[int], bytes]], *, metadata: dict | None = None, pad: int = 0
) -> bytes:
    """A file by hand, so that it can hold what the library would refuse; the header has a length of choice."""
    header, offset = {}, 0
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * max(0, pad - len(text))
    return struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values())


def raw(*shape: int) -> bytes:
    return RNG.standard_normal(shape).astype("<f4").tobytes()


GOOD = ("F32", [24, 20], raw(24, 20))


def odd_tensors() -> dict[str, tuple[object, str]]:
    """name -> (a tensor that is no real matrix, why it is left out), to lie beside a good one in a torch file."""
    masked = torch.triu(torch.full((8, 8), float("-inf")), 1)
    return {
        "freqs_cis": (torch.polar(torch.ones(16, 8), torch.ones(16, 8)), "complex"),
        "double_complex": (torch.ones(4, 4, dtype=torch.complex128), "dtype complex128"),
        "sparse": (torch.eye(4).to_sparse(), "not a dense tensor: sparse_coo"),
        "csr": (torch.eye(4).to_sparse_csr(), "not a dense tensor: sparse_csr"),
        "meta": (torch.empty(4, 4, device="meta"), "on the meta device"),
        "quantised": (torch.quantize_per_tensor(weight(4, 4), 0.1, 0, torch.qint8), "quantised: dtype qint8"),
        "scales": (torch.ones(4, 4).to(torch.float8_e8m0fnu), "scales of a block format"),
        "fnuz": (torch.ones(4, 4).to(torch.float8_e4m3fnuz), "dtype F8_E4M3FNUZ"),
        "packed": (torch.ones(4, 4, dtype=torch.int8), "integers"),
        "flags": (torch.ones(4, 4, dtype=torch.bool), "booleans"),
        "attn_mask": (masked, "a mask"),
        "table": (masked.clone(), "holds infinity"),
        "broken": (torch.full((3, 3), float("nan")), "holds NaN"),
        "empty": (torch.empty(0, 5), "empty"),
        "six": (torch.ones(2, 2, 2, 2, 2, 2), "more than five dimensions"),
        "scale": (torch.tensor(3.0), "a number"),
        "gamma": (torch.ones(1, 1, 20), "a vector"),
        "huge": (torch.full((3, 3), 1e306, dtype=torch.float64), "singular values leave float64"),
        "pos_embed": (weight(1, 9, 20), "position table"),
        "optimizer.state.0.exp_avg": (weight(), "optimiser state"),
        "ema.w": (weight(), "EMA copy of w"),
        "rotary.inv_freq": (weight(3, 3), "position table"),
        "window": (weight(3, 3), "a buffer"),
        "stft_conv.weight": (weight(18, 1, 16), "a fixed transform"),
        "attn.bias": (torch.ones(1, 1, 8, 8), "a bias or a mask of several dimensions"),
        "relative.bias": (weight(3, 3), "a bias or a mask of several dimensions"),
    }


def corpus(folder: Path) -> dict[str, Case]:
    """Write all of it."""
    cases: dict[str, Case] = {}

    def case(name: str, write: Callable[[Path], object] | bytes, code: int, *said: str) -> None:
        path = folder / name
        path.write_bytes(write) if isinstance(write, bytes) else write(path)
        cases[name] = Case(path, code, said)

    def torch_file(content: object, **options: object) -> Callable[[Path], object]:
        return lambda path: torch.save(content, path, **options)

    for name, (tensor, why) in odd_tensors().items():  # each beside a good matrix: the rest goes on
        case(f"odd-{name}.pt", torch_file({"w": weight(), name: tensor}), 0, "w ", name, why)
    lazy = nn.LazyLinear(4).state_dict() | {"w": weight()}
    case("lazy.pt", torch_file(dict(lazy)), 2, "UninitializedParameter")

    # signs that mean something else
    for start, name in ((0x80, "first-byte-of-a-pickle"), (0x4B50, "first-bytes-of-a-zip")):
        case(name, safetensors({"w": GOOD}, pad=start if start > 200 else 0x80), 0, "24×20")
    case("named-safetensors.safetensors", torch_file({"w": weight()}), 0, "24×20")
    case("named-torch.pt", save({"w": weight()}), 0, "24×20")

    # layouts of names
    case("prefix.pt", torch_file({"module.w": weight(), "module.b": weight(3)}), 0, "module.w")
    case("compiled.pt", torch_file({"_orig_mod.fc.weight": weight()}), 0, "24×20")
    case(
        "nested.pt", torch_file({"state_dict": {"w": weight()}, "epoch": 3, "args": {"lr": 0.1}}), 0, "epoch", "args.lr"
    )
    model = nn.Sequential(nn.Linear(20, 24), nn.Linear(24, 20))
    adam = torch.optim.Adam(model.parameters())
    model(weight(4, 20)).sum().backward()
    adam.step()
    whole = {"model_state": model.state_dict(), "optimizer_state": adam.state_dict(), "step": 1}
    case("training.pt", torch_file(whole), 0, "2 of 2 matrices", "optimiser state; 12 of them")
    case(
        "ema.pt", torch_file({"model": {"w": weight()}, "model_ema": {"w": weight()}}), 0, "EMA copy", "1 of 1 matrices"
    )
    case("deep.pt", torch_file({"model": {"state_dict": {"a.w": weight()}}, "lr": 0.1}), 0, "a.w")
    case("parts.pt", torch_file({"encoder": {"w": weight()}, "decoder": {"w": weight()}}), 0, "encoder.w", "decoder.w")
    shared = weight(40, 20)
    case(
        "tied.pt", torch_file({"embed.weight": shared, "head.weight": shared, "w": weight()}), 0, "tied to embed.weight"
    )
    case("experts.safetensors", save({"experts.w1": weight(3, 24, 20)}), 0, "experts.w1[2]", "24×20")
    case(
        "depthwise.pt", torch_file({"a.weight": weight(24, 20, 3, 3), "d.weight": weight(24, 1, 3, 3)}), 0, "depthwise"
    )
    normalised = {"l.weight_g": weight(24, 1), "l.weight_v": weight()}
    case("weight-norm.pt", torch_file(normalised), 0, "1 of 1 matrices", "l.weight_g (a vector)")
    averages = {"vq.embed": weight(64, 20), "vq.embed_avg": weight(64, 20), "vq.cluster_size": weight(64)}
    case("codebook.pt", torch_file(averages), 0, "1 of 1 matrices", "vq.embed_avg (a running average)")
    view = torch.zeros(1).expand(1 << 13, 1 << 12)
    case("repeated.pt", torch_file({"w": weight(), "v": view}), 0, "v (a view that repeats few numbers)")
    case("newline.pt", torch_file({"w\n\x1b[31m": weight()}), 0, "w\\n\\x1b[31m")
    case("integer-keys.pt", torch_file({0: weight(), 1: weight(3)}), 0, "24×20")
    case("list.pt", torch_file({"weights": [weight(), weight()]}), 0, "weights.1")
    case("ordered.pt", torch_file(collections.OrderedDict(w=weight())), 0, "24×20")
    case("long-name.pt", torch_file({"a." * 200 + "weight": weight()}), 0, "24×20")

    # numbers
    for power in (-200, 200):
        case(f"scale{power}.pt", torch_file({"w": weight(dtype=torch.float64) * 10.0**power}), 0, "24×20")
    case("zero.safetensors", save({"w": torch.zeros(24, 20)}), 0, "24×20")
    case("one.safetensors", save({"w": torch.ones(1, 1)}), 0, "1×1")
    case("subnormal.safetensors", save({"w": weight() * 1e-44}), 0, "24×20")
    case(
        "float8.safetensors",
        save({"w": weight(dtype=torch.float8_e4m3fn), "v": weight(dtype=torch.float8_e5m2)}),
        0,
        "24×20",
    )
    mixed = {
        f"w{i}": weight(dtype=kind) for i, kind in enumerate((torch.float8_e4m3fn, torch.bfloat16, torch.float16) * 6)
    }
    case("mixed.safetensors", save(mixed), 0, "w17")
    int8 = {"w": torch.ones(24, 20, dtype=torch.int8), "w_scale": torch.ones(24), "v": weight()}
    case("int8.safetensors", save(int8), 0, "integers with a scale")
    blocks = {"w": weight(128, 128, dtype=torch.float8_e4m3fn), "w_scale_inv": weight(2, 2), "v": weight()}
    case("blocks.safetensors", save(blocks), 0, "float8 with 4 scales", "w_scale_inv (scales of a")
    gptq = {"l.qweight": torch.ones(20, 24, dtype=torch.int32), "l.scales": weight(4, 24), "v": weight()}
    case("gptq.pt", torch_file(gptq), 0, "l.qweight (quantised: integers with a scale)", "l.scales (scales of a")
    packed = {"l.weight_packed": gptq["l.qweight"], "l.weight_scale": weight(24, 4), "v": weight()}
    case(
        "packed.pt", torch_file(packed), 0, "packed (quantised: integers with a scale)", "scale (scales of a", "1 of 1"
    )
    case("unknown-dtype", safetensors({"w": GOOD, "x": ("F13", [4, 4], b"\0" * 16)}), 0, "dtype F13 is not known")
    case("four-bit", safetensors({"w": GOOD, "x": ("F4", [4, 4], b"\0" * 8)}), 0, "dtype F4")

    # NumPy
    case("plain.npz", lambda path: np.savez(open(path, "wb"), w=RNG.standard_normal((24, 20))), 0, "24×20")
    case(
        "deflated.npz", lambda path: np.savez_compressed(open(path, "wb"), w=RNG.standard_normal((24, 20))), 0, "24×20"
    )
    big = {"w": RNG.standard_normal((24, 20)).astype(">f4"), "l": np.ones((3, 3), np.longdouble)}
    case("endian.npz", lambda path: np.savez(open(path, "wb"), **big), 0, "24×20", "left out: l (dtype")
    objects = {"w": RNG.standard_normal((24, 20)), "o": np.array([Refused()], object)}
    case("objects.npz", lambda path: np.savez(open(path, "wb"), **objects), 0, "left out: o (no numbers: objects)")
    case("single.npy", lambda path: np.save(open(path, "wb"), np.ones((3, 3))), 2, "a single array")

    # damage
    good = save({"w": weight(), "b": weight(3)})
    for cut in (1, 7, 8, 9, 40, len(good) - 1):
        case(f"cut{cut}.safetensors", good[:cut], 2, "no checkpoint")
    for name, options in (("zip", {}), ("legacy", {"_use_new_zipfile_serialization": False})):
        file = io.BytesIO()
        torch.save({"w": weight()}, file, **options)
        content = file.getvalue()
        for cut in np.linspace(10, len(content) - 2, 8).astype(int):
            case(f"{name}-cut{cut}.pt", content[:cut], 2, "no checkpoint")
    case("deep-json.safetensors", struct.pack("<Q", 400_000) + b'{"a":' + b"[" * 399_995 + b"\0", 2, "no checkpoint")
    case("list-json.safetensors", struct.pack("<Q", 6) + b"{1, 2}", 2, "no checkpoint")
    case("text", b"I am no checkpoint\n", 2, "no checkpoint")
    case("nothing", b"", 2, "is empty")
    case("model.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 100, 2, "is an HDF5 file")
    case("model.gguf", b"GGUF" + b"\0" * 100, 2, "is a GGUF file")
    case("lies.safetensors", safetensors({"w": ("F32", [24, 20], raw(4, 4))}), 2, "does not fit its 64 bytes")
    for name, told in {"true": ([True, 20], [0, 80]), "float": ([24, 20], [0.0, 1920.0])}.items():
        header = json.dumps({"w": {"dtype": "F32", "shape": told[0], "data_offsets": told[1]}}).encode()
        content = struct.pack("<Q", len(header)) + header + raw(24, 20)[: int(told[1][1])]
        case(f"{name}-in-the-header.safetensors", content, 2, "no checkpoint", "has shape")
    case("gap.safetensors", safetensors({"w": GOOD}) + b"\0" * 8, 2, "8 bytes belong to no tensor")

    # what may run code, or is something else
    case("class.pt", torch_file({"w": weight(), "x": Refused()}), 2, "may run code", "print")
    case("plain-pickle.pkl", pickle.dumps({"x": Refused()}), 2, "print")
    case("whole-model.pt", torch_file(nn.Linear(3, 3)), 2, "Linear", "state_dict()")
    case("script.pt", lambda path: torch.jit.save(torch.jit.script(nn.Linear(3, 3)), str(path)), 2, "TorchScript")
    case("tensor.pt", torch_file(weight()), 2, "holds Tensor")

    def zipped(path: Path, name: str, flags: int = 0) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, b"x" * 20)
        if flags:  # as an encrypted archive has them, in both headers
            content = bytearray(path.read_bytes())
            content[6] |= flags
            content[content.index(b"PK\x01\x02") + 8] |= flags
            path.write_bytes(content)

    case("other.zip", lambda path: zipped(path, "readme.txt"), 2, "without torch's data.pkl")
    case("encrypted.zip", lambda path: zipped(path, "archive/data.pkl", 1), 2, "is encrypted")

    # folders
    def sharded(path: Path, listed: dict[str, str] | None = None) -> None:
        path.mkdir()
        for i in range(2):
            save_file({f"w{i}": weight()}, path / f"model-{i}.safetensors")
        listed = listed or {f"w{i}": f"model-{i}.safetensors" for i in range(2)}
        (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))

    def single(path: Path) -> None:
        path.mkdir()
        (path / "config.json").write_text("{}")
        save_file({"w": weight()}, path / "model.safetensors")

    def adapter(path: Path) -> None:
        path.mkdir()
        (path / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 8}))
        a, b = weight(4, 20), weight(24, 4)
        layer = "base_model.model.fc"
        save_file({f"{layer}.lora_A.weight": a, f"{layer}.lora_B.weight": b}, path / "adapter_model.safetensors")

    def other_adapter(down: str, up: str, **more: torch.Tensor) -> bytes:
        return save({down: weight(4, 20), up: weight(24, 4), **more})

    names = (f"lora_unet_q.lora_{side}.weight" for side in ("down", "up"))
    content = other_adapter(*names, **{"lora_unet_q.alpha": torch.tensor(2.0)})
    case("kohya.safetensors", content, 0, "lora_unet_q.weight (adapter)", "24×20")
    content = other_adapter("a.to_q_lora.down.weight", "a.to_q_lora.up.weight")
    case("diffusers.safetensors", content, 0, "a.to_q.weight (adapter)", "24×20")
    both = {"a.base_layer.weight": weight(), "a.lora_A.default.weight": weight(4, 20)}
    both |= {"a.lora_B.default.weight": weight(24, 4), "b.weight": weight(64, 64)}
    case("adapted-model.pt", torch_file(both), 0, "a.base_layer.weight", "a.weight (adapter)", "64×64")
    case("sharded", sharded, 0, "w0", "w1")
    case("missing-shard", lambda path: sharded(path, {"w0": "model-0.safetensors", "w1": "model-9.safetensors"}), 2,
         "model-9.safetensors cannot be read")  # fmt: skip
    case("outside", lambda path: sharded(path, {"w0": "../named-torch.pt"}), 2, "must name files beside it")
    case("missing-tensor", lambda path: sharded(path, {"w0": "model-0.safetensors", "x": "model-0.safetensors"}), 0,
         "left out: x (in the index, but in no shard)")  # fmt: skip
    case("hugging-face", single, 0, "24×20")
    case("adapter", adapter, 0, "fc.weight (adapter)", "24×20")

    def pair(path: Path) -> None:
        path.mkdir()
        for name in "ab":
            save_file({"w": weight()}, path / f"{name}.safetensors")

    case("two-files", pair, 2, "2 checkpoints without an index")
    case("no-files", lambda path: path.mkdir(), 2, "folder without a checkpoint")
    return cases
