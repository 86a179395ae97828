"""How good a viewer's network is: 100 less what bandwidth, loss and jitter take off. The unknown takes nothing."""


def score(config, tick, ladder, viewer, memo):
    bandwidth, loss, jitter = viewer.bandwidth_kbps, viewer.loss_pct, viewer.jitter_ms
    bandwidth_part = 0 if bandwidth is None else within((10_000 - bandwidth) / 250, 40)
    loss_part = within((loss or 0) * 6, 30)
    jitter_part = within((jitter or 0) / 5, 30)
    points = round(100 - bandwidth_part - loss_part - jitter_part)
    reason = 0 if points >= 90 else 1 if points >= 70 else 2 if points >= 50 else 3 if points >= 20 else 4
    return {
        "score": points,
        "bandwidth_part": bandwidth_part,
        "loss_part": loss_part,
        "jitter_part": jitter_part,
        "reason": reason,
    }


def within(value, most):
    return min(max(value, 0), most)
