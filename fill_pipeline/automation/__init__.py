"""When it happens: jobs, schedules, sensors."""
