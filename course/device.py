"""Where the computation runs: the device, its autocast type, the seed, and the machine in one line."""

import os
import platform

import torch


def pick_device(name: str | None = None) -> torch.device:
    """Return the device called `name`, or the best one present: CUDA, then MPS, then CPU.

    Raises:
        ValueError: `name` is no device of this machine.
    """
    present = [
        kind
        for kind, available in [
            ("cuda", torch.cuda.is_available()),
            ("mps", torch.backends.mps.is_available()),
            ("cpu", True),
        ]
        if available
    ]
    if name is None:
        return torch.device(present[0])
    if name not in present:
        raise ValueError(f"No device {name!r} here. Choose one of: {', '.join(present)}.")
    return torch.device(name)


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """Return bfloat16 where the device computes it in hardware, else None (stay in float32)."""
    if device.type == "cuda":
        in_hardware = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # absent from the oldest torch that we allow
        in_hardware = torch.backends.cpu.get_cpu_capability() == "AVX512" and (
            capabilities.get("avx512_bf16", False) or capabilities.get("amx_bf16", False)
        )
    else:
        in_hardware = False
    return torch.bfloat16 if in_hardware else None


def set_seed(seed: int = 0) -> int:
    """Seed every generator of PyTorch and return the seed; COURSE_SEED, where set, overrides it.

    Raises:
        ValueError: COURSE_SEED is not a whole number.
    """
    text = os.environ.get("COURSE_SEED", str(seed))
    try:
        seed = int(text)
    except ValueError:
        raise ValueError(f"COURSE_SEED is {text!r}; it must be a whole number.") from None
    torch.manual_seed(seed)
    return seed


def describe_machine(device: torch.device) -> str:
    """Return the machine in one line: processor or GPU, threads, versions."""
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    else:
        hardware = f"{platform.machine()} {device.type.upper()}, {torch.get_num_threads()} threads"
    return f"{hardware}; Python {platform.python_version()}, torch {torch.__version__}"
