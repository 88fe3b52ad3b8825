"""Running a module without touching it: the clone, the step, the guard, the device."""
