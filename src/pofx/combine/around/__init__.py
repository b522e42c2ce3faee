"""Models around a trained denoiser: steered by others, or with a part of their own beside the frozen one."""
