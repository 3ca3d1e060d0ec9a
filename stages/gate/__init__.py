"""The door: passages, rules, the decision, and the threshold it rests on."""
