"""The first cell of a notebook: which device computes, and where runs are kept."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import jax

DRIVE = Path("/content/drive/MyDrive")  # where Colab mounts Google Drive


def start(folder: str = "lrn-runs") -> Path:
    """Print the device, warn where an accelerator is not used, and say where runs are kept.

    Args:
        folder: the name of the folder of runs.

    Returns:
        The folder: on Google Drive where it is mounted in Colab, so that runs outlast the session; else below
        the current folder.
    """
    device = jax.devices()[0].device_kind
    print(f"jax {jax.__version__} on {jax.device_count()} x {device} ({jax.default_backend()})")
    unused = accelerator() if jax.default_backend() == "cpu" else None
    if unused:
        print(
            f"Warning: this machine has a {unused}, but jax computes on the CPU; install "
            f"`jax[{'cuda12' if unused == 'GPU' else 'tpu'}]` of version {jax.__version__} and restart."
        )
    runs = (DRIVE if DRIVE.is_dir() else Path.cwd()) / folder
    print(f"runs are kept in {runs}")
    return runs


def accelerator() -> str | None:
    """The kind of accelerator that the machine shows signs of: "GPU", "TPU", or None.

    The signs are a working driver's command for a GPU, and Colab's variables or a device file for a TPU. No
    sign counts where JAX_PLATFORMS asks for the CPU.
    """
    if os.environ.get("JAX_PLATFORMS", "").strip().lower() == "cpu":
        return None
    if shutil.which("nvidia-smi"):
        return "GPU"
    on_tpu = "COLAB_TPU_ADDR" in os.environ or "TPU_NAME" in os.environ or os.path.exists("/dev/accel0")
    return "TPU" if on_tpu else None
