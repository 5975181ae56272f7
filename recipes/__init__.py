"""The paper's experiments at full scale: scripts, what they ought to give, and the comparison."""
