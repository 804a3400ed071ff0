"""Trained networks that lie in public packages, with real input: for `python -m benchmarks networks`.

Nothing is fetched: a package that is not installed is left out. Calibration and judgement never see the same speaker,
picture or text.
"""

from __future__ import annotations

import functools
import importlib.util
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

RATE = 16_000  # samples per second, of all audio


@dataclass(frozen=True)
class Case:
    """A network of a package."""

    title: str
    metric: str  # what `score` is
    file: Path  # as the package has it
    model: nn.Module  # with these weights
    calibration: list[Tensor]  # its inputs, by other speakers, of other pictures or texts than those that are judged
    score: Callable[[nn.Module], float]  # 1 is as the original


def folder(package: str) -> Path:
    """Where an installed package lies.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(package)
    return Path(found.submodule_search_locations[0])


@functools.cache
def speakers(recordings: Path) -> list[np.ndarray]:
    """(samples,) of each of twelve folders of recordings, about 6 s; one folder is one speaker."""
    import librosa

    found = []
    for place in sorted({path.parent for path in recordings.rglob("*.og[ga]")}):
        if len(found) == 12:
            break
        parts, length = [], 0
        for path in sorted(place.glob("*.og[ga]")):
            samples = librosa.load(path, sr=RATE)[0]
            parts += [samples, np.zeros(RATE // 5, np.float32)]
            length += len(samples)
            if length > 6 * RATE:
                break
        if length > 6 * RATE:
            found.append(np.concatenate(parts))
    return found


@torch.no_grad()
def speech_lstm(recordings: Path) -> Case:
    import librosa
    from resemblyzer import VoiceEncoder

    def windows(samples: np.ndarray) -> Tensor:  # (windows, 160 frames, 40 mel channels)
        mel = librosa.feature.melspectrogram(y=samples, sr=RATE, n_fft=400, hop_length=160, n_mels=40).T
        return torch.from_numpy(mel[: len(mel) // 160 * 160].reshape(-1, 160, 40).astype(np.float32))

    model = VoiceEncoder("cpu", verbose=False).eval()
    voices = [windows(each) for each in speakers(recordings)]
    judged = torch.cat(voices[1::2])
    return Case("speech LSTM (resemblyzer)", "cosine of embeddings", folder("resemblyzer") / "pretrained.pt", model,
                voices[::2], _cosine(model, judged))  # fmt: skip


@torch.no_grad()
def pitch(recordings: Path) -> Case:
    import torchcrepe

    def frames(samples: np.ndarray) -> Tensor:  # (frames, 1024)
        return next(torchcrepe.preprocess(torch.from_numpy(samples)[None], RATE, 800, None, "cpu"))

    model = torchcrepe.Crepe("tiny").eval()
    file = folder("torchcrepe") / "assets" / "tiny.pth"
    model.load_state_dict(torch.load(file, map_location="cpu"))
    voices = [frames(each) for each in speakers(recordings)]
    judged = torch.cat(voices[1::2])
    sure, bins = model(judged).max(1)
    judged, bins = judged[sure > 0.5], bins[sure > 0.5]

    def score(other: nn.Module) -> float:
        return float(((other(judged).argmax(1) - bins).abs() <= 2).float().mean())  # a bin is 20 cents

    return Case("pitch CNN (torchcrepe, tiny)", "pitch within 40 cents", file, model, voices[::2], _quiet(score))


class VoiceActivity(nn.Module):
    """silero-vad's network for 16 kHz, after its `tinygrad_model.py`: (chunks, 576) -> (chunks,) in order of time."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 258, 256, 128, bias=False)
        sizes = ((129, 128, 1), (128, 64, 2), (64, 64, 2), (64, 128, 1))
        self.conv1, self.conv2, self.conv3, self.conv4 = (nn.Conv1d(a, b, 3, s, padding=1) for a, b, s in sizes)
        self.lstm_cell = nn.LSTMCell(128, 128)
        self.final_conv = nn.Conv1d(128, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stft_conv(F.pad(x, (0, 64), "reflect").unsqueeze(1))
        x = (x[:, :129] ** 2 + x[:, 129:] ** 2).sqrt()
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = layer(x).relu()
        state, hidden = None, []
        for chunk in x.squeeze(-1).split(1):
            state = self.lstm_cell(chunk, state)
            hidden.append(state[0])
        return self.final_conv(torch.cat(hidden).relu().unsqueeze(-1)).sigmoid().flatten()


@torch.no_grad()
def voice_activity(recordings: Path) -> Case:
    from safetensors.torch import load_file

    def chunks(samples: np.ndarray) -> Tensor:  # (chunks, 64 samples of the one before + 512)
        padded = torch.from_numpy(np.concatenate([np.zeros(64, np.float32), samples]))
        return padded.unfold(0, 576, 512)

    file = folder("silero_vad") / "data" / "silero_vad_16k.safetensors"
    model = VoiceActivity().eval()
    model.load_state_dict(load_file(file))
    voices = [chunks(each) for each in speakers(recordings)]
    judged = voices[1::2]
    wanted = torch.cat([model(each) for each in judged]) > 0.5

    def score(other: nn.Module) -> float:
        return float(((torch.cat([other(each) for each in judged]) > 0.5) == wanted).float().mean())

    return Case("voice activity (silero-vad)", "same decision", file, model, voices[::2], _quiet(score))


@torch.no_grad()
def faces(_: Path) -> Case:
    from facenet_pytorch.models.mtcnn import ONet

    patches = np.load(folder("skimage") / "data" / "lfw_subset.npy")  # (200, 25, 25): 100 faces, 100 other patches
    x = torch.from_numpy(patches.astype(np.float32))[:, None].expand(-1, 3, -1, -1)
    x = (F.interpolate(x, 48, mode="bilinear") * 255 - 127.5) / 128
    model = ONet().eval()
    judged = x[1::2]
    wanted = model(judged)[2][:, 1] > 0.5

    def score(other: nn.Module) -> float:
        return float(((other(judged)[2][:, 1] > 0.5) == wanted).float().mean())

    return Case("face O-Net (facenet-pytorch)", "same decision", folder("facenet_pytorch") / "data" / "onet.pt", model,
                list(x[::2].split(10)), _quiet(score))  # fmt: skip


class Sentences(nn.Module):
    """Mean of a BERT's last hidden states: (sentences, 2, tokens) of ids and mask -> (sentences, dimension)."""

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.model = bert  # a prefix that means nothing, so that the file's names fit

    def forward(self, x: Tensor) -> Tensor:
        ids, mask = x.unbind(1)
        states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


@torch.no_grad()
def sentences(_: Path) -> Case:
    from tokenizers import Tokenizer
    from transformers import BertConfig, BertModel

    place = Path(tempfile.mkdtemp(prefix="minilm"))
    with zipfile.ZipFile(folder("all_minilm_l6_v2") / "model.zip") as archive:
        archive.extractall(place)
    bert = BertModel.from_pretrained(place, config=BertConfig.from_pretrained(place), local_files_only=True)
    tokens = Tokenizer.from_file(str(place / "tokenizer.json"))
    tokens.enable_truncation(32)
    tokens.enable_padding(length=32)
    described = sorted((folder("sklearn") / "datasets" / "descr").glob("*.rst"))

    def encoded(paths: list[Path], count: int) -> Tensor:
        text = " ".join(" ".join(path.read_text(encoding="utf-8").split()) for path in paths)
        parts = [each for each in text.split(". ") if 40 < len(each) < 300][:count]
        found = tokens.encode_batch(parts)
        return torch.tensor([[each.ids, each.attention_mask] for each in found])

    model = Sentences(bert).eval()
    score = _cosine(model, encoded(described[1::2], 32))
    return Case("sentences (MiniLM-L6)", "cosine of embeddings", place / "model.safetensors", model,
                list(encoded(described[::2], 64).split(16)), score)  # fmt: skip


def _cosine(model: nn.Module, judged: Tensor) -> Callable[[nn.Module], float]:
    wanted = model(judged)
    return _quiet(lambda other: float(F.cosine_similarity(other(judged), wanted).mean()))


def _quiet(score: Callable[[nn.Module], float]) -> Callable[[nn.Module], float]:
    return torch.no_grad()(score)


CASES = {"speech": speech_lstm, "pitch": pitch, "voice": voice_activity, "faces": faces, "sentences": sentences}


def cases(recordings: Path) -> Iterator[Case]:
    """Each network whose packages are installed."""
    for name, build in CASES.items():
        try:
            yield build(recordings)
        except ModuleNotFoundError as error:
            print(f"{name} is left out: {error.name or error} is not installed")
