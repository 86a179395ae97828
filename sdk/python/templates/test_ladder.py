import unittest
from pathlib import Path

import policy
from lockgate_policy import Glue, manifest_of

GLUE = Glue(manifest_of(Path(__file__).parent), policy)
RUNGS = [{"width": 640, "height": 360, "fps": 30}, {"width": 1280, "height": 720, "fps": 60}]


class Policy(unittest.TestCase):
    def test_nothing_is_enlarged_and_the_budget_is_kept(self):
        [small] = GLUE.ask("ladder", [{"width": 854, "height": 480, "fps": 30}], RUNGS)
        self.assertEqual(small["encode"], [True, False])
        [poor] = GLUE.ask("ladder", [{"width": 1920, "height": 1080, "fps": 30, "cpu_budget": 0}], RUNGS)
        self.assertEqual(poor["encode"], [True, False])


if __name__ == "__main__":
    unittest.main()
