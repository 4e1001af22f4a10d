"""Calls three of TRL's reward functions as its trainer does and prints what they return, for a test to compare with."""

import json
import sys

from trl.rewards import accuracy_reward, get_soft_overlong_punishment, think_format_reward

call = json.load(sys.stdin)
arguments = {
    "prompts": call["prompts"],
    "completions": call["completions"],
    "completion_ids": call["completion_ids"],
    "solution": call["solution"],
}
print(
    json.dumps(
        {
            "accuracy_reward": accuracy_reward(**arguments),
            "think_format_reward": think_format_reward(**arguments),
            "soft_overlong": get_soft_overlong_punishment(max_completion_len=40, soft_punish_cache=20)(**arguments),
        }
    )
)
