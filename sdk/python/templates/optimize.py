"""What is saved for a viewer on a poor link. Level 0 saves least, 2 most."""

# Numbers of plugin.toml's reasons; their texts would do as well.
GOOD, NARROW, POOR = 0, 2, 3


def optimize(config, tick, ladder, viewer, memo):
    kbps = viewer.bandwidth_kbps
    is_poor = kbps is not None and kbps < 500
    is_narrow = kbps is not None and kbps < 1000
    whole = ladder[len(ladder) - 1].need_kbps if len(ladder) else None
    reduction_pct = 70 if is_poor else 50 if is_narrow else 30
    return {
        "level": 2 if is_poor else 1 if is_narrow else 0,
        "reduction_pct": reduction_pct,
        "cap_kbps": None if whole is None else min(whole * (1 - reduction_pct / 100), 1e6),
        "fps": 15 if is_poor else 24 if is_narrow else 60,
        "opus_kbps": 12 if is_poor else 24 if is_narrow else 128,
        "opus_hz": 8000 if is_poor else 16000 if is_narrow else 48000,
        "opus_channels": 1 if is_narrow else 2,
        "buffer_s": 20 if is_narrow else 10,
        "fec": (viewer.loss_pct or 0) >= config["fec_loss_pct"],
        "reason": POOR if is_poor else NARROW if is_narrow else GOOD,
    }
