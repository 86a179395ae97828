"""BOLA: the rung that maximises (V × (utility + gp) − buffer) / bitrate, for what is buffered now.

After Spiteri, Urgaonkar and Sitaraman, "BOLA: Near-Optimal Bitrate Adaptation for Online Videos" (INFOCOM 2016). The
utility of a rung is the logarithm of its bitrate over the lowest one's. V and gp follow from two buffer levels that an
operator can picture: at the low one the lowest rung is still the best, at the target the highest is. As in BOLA-O,
going up stops at what the link sustains, so that the rule does not swing between two rungs.
"""

from math import log


def recommend(config, tick, ladder, viewer, memo):
    needs = [rung.need_kbps for rung in ladder]
    if not needs:
        return {"rung": None, "reason": "there is no rung"}
    if any(need is None or need <= 0 for need in needs):
        return {"rung": 0, "reason": "nothing is known yet, the lowest"}
    current = int(viewer.current) if viewer.current is not None and 0 <= viewer.current < len(needs) else None
    sustained = sustained_rung(config, ladder, viewer)

    buffer_s = viewer.buffer_s
    if buffer_s is None:
        if sustained is None:
            return {"rung": current or 0, "reason": "nothing is known yet, the lowest"}
        return {"rung": sustained, "reason": "link: no buffer to go by"}

    best = best_rung(config, needs, buffer_s)
    if sustained is not None and current is not None and best > current and best > sustained:
        return {"rung": max(sustained, current), "reason": "link: no higher than the link sustains"}
    return {"rung": best, "reason": "bola: the best utility for what is buffered"}


def best_rung(config, needs, buffer_s):
    """The rung with the greatest score; the lower of equals."""
    low, target = config["buffer_low_s"], max(config["buffer_target_s"], config["buffer_low_s"] + 1)
    utilities = [log(need / needs[0]) for need in needs]
    if utilities[-1] <= 0:
        return 0
    # At `low` the score of the lowest rung, at `target` that of the highest, falls to zero.
    gp = utilities[-1] * low / (target - low)
    v = low / gp
    scores = [(v * (utility + gp) - buffer_s) / need for utility, need in zip(utilities, needs)]
    return max(range(len(needs)), key=lambda rung: scores[rung])


def sustained_rung(config, ladder, viewer):
    """The highest rung that the link carries; None while nobody knows the link."""
    if viewer.bandwidth_kbps is None:
        return None
    arriving = 1 - min(max(viewer.loss_pct or 0, 0), 100) / 100
    return ladder.highest_within(viewer.bandwidth_kbps * arriving * config["safety"]) or 0
