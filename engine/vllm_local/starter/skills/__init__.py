"""One file per skill: functions that write a short conversation, or a few turns of one."""
