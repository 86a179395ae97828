import unittest
from pathlib import Path

import policy
from lockgate_policy import Glue, manifest_of

GLUE = Glue(manifest_of(Path(__file__).parent), policy)


class Policy(unittest.TestCase):
    def test_what_is_not_known_takes_nothing_off(self):
        rows = [{}, {"bandwidth_kbps": 0, "loss_pct": 50, "jitter_ms": 500}]
        unknown, poor = GLUE.ask("score", rows)
        self.assertEqual((unknown["score"], poor["score"]), (100, 0))
        self.assertEqual(poor["reason"], "critical: 360p30")


if __name__ == "__main__":
    unittest.main()
