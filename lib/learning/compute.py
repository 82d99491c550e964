"""Where torch computes, and in which precision."""

from dataclasses import dataclass

import torch
from torch import nn

from lib.errors import ConfigError
from lib.learning.allowed_values import require
from lib.learning.cuda import warn_of_unused_gpu, why_no_gpu


@dataclass(frozen=True, kw_only=True)
class Compute:
    """A device and the precision of the convolutions on it."""

    device: torch.device
    bf16: bool
    layout: str = "auto"

    def autocast(self) -> torch.autocast:
        """Return the context in which the network runs; weights and loss stay float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    @property
    def precision(self) -> str:
        """The name of the precision, as in `train.precision`."""
        return "bf16" if self.bf16 else "float32"

    def place(self, network: nn.Module) -> nn.Module:
        """Move a network with `config.dimensions` to the device, in the layout that `train.memory_layout` asks for.

        `auto` is channels last, which is fastest for oneDNN on CPUs and for bf16 tensor cores (see bench/README.md),
        except in float32 on CUDA.
        """
        plain = self.layout == "plain" or (
            self.layout == "auto" and self.device.type == "cuda" and not self.bf16
        )
        last = torch.channels_last_3d if network.config.dimensions == 3 else torch.channels_last
        layout = torch.contiguous_format if plain else last
        return network.to(self.device, memory_format=layout)

    def describe(self) -> str:
        """Return the device's name for a record, e.g. "NVIDIA H200" or "cpu"."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type


def choose_compute(device: str = "auto", precision: str = "auto", layout: str = "auto") -> Compute:
    """Resolve the settings `train.device`, `train.precision` and `train.memory_layout`.

    A CUDA device is torch's current one, by its number (see `lib.learning.devices`). The precision `auto` is bf16
    where the device computes in it: CUDA since Ampere, CPUs with AVX512-BF16 or AMX.

    Raises:
        ConfigError: an unknown name, or CUDA is asked for and torch finds none.
    """
    require(device in ("auto", "cpu", "cuda"), "train.device", device, "auto, cpu or cuda")
    require(precision in ("auto", "float32", "bf16"), "train.precision", precision, "auto, float32 or bf16")
    layouts = ("auto", "channels_last", "plain")
    require(layout in layouts, "train.memory_layout", layout, "auto, channels_last or plain")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"train.device: cuda is asked for, but torch finds no CUDA device: {why_no_gpu()}")
    if device == "auto":
        warn_of_unused_gpu()
    kind = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    bf16 = precision == "bf16" or (precision == "auto" and _computes_in_bf16(kind))
    index = torch.cuda.current_device() if kind == "cuda" else None
    return Compute(device=torch.device(kind, index), bf16=bf16, layout=layout)


def _computes_in_bf16(kind: str) -> bool:
    """Tell whether a kind of device has bf16 arithmetic in hardware; emulated, it is slower than float32."""
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
