//! What carries a state across one step.
