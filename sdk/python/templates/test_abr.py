import unittest
from pathlib import Path

import policy
from lockgate_policy import Glue, Tick, manifest_of

GLUE = Glue(manifest_of(Path(__file__).parent), policy)
RUNGS = [{"need_kbps": 600}, {"need_kbps": 1000}, {"need_kbps": 2500}]


class Policy(unittest.TestCase):
    def test_down_at_once_and_up_after_a_while(self):
        [down] = GLUE.ask("abr", [{"bandwidth_kbps": 900, "current": 2}], RUNGS)
        self.assertEqual((down["rung"], down["reason"]), (0, "down: the link carries less"))
        wide = {"bandwidth_kbps": 9000, "current": 0}
        [wait] = GLUE.ask("abr", [wide], RUNGS, Tick(1000, 0, 0, 0))
        self.assertEqual((wait["rung"], wait["memo"]), (0, [1000]))
        [up] = GLUE.ask("abr", [{**wide, "memo": wait["memo"]}], RUNGS, Tick(6000, 0, 0, 0))
        self.assertEqual(up["rung"], 1)


if __name__ == "__main__":
    unittest.main()
